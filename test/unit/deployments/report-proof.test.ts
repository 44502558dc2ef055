import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'

import { CompactSign } from 'jose'
import { describe, expect, test } from 'vitest'

import { generatePrivateKey } from '../../../pki/keys.ts'
import { checkProof } from '../../../server/deployments/report-proof.ts'
import { Report } from '../../../server/protocol/messages.ts'
import {
  proofAlgorithm,
  type ProofClaims,
  proofType,
} from '../../../server/protocol/report-proof.ts'

const claims: ProofClaims = {
  deploymentId: '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3',
  state: 'succeeded',
  sha256: 'ab'.repeat(32),
  svn: 41,
  at: '2026-11-26T10:00:00.000Z',
  counter: 7,
}
const { svn: _svn, counter: _counter, ...said } = claims
const device = generatePrivateKey('P-256')
const fingerprint = 'cd'.repeat(32)

async function sign(
  payload: unknown,
  { key = device, typ = proofType, alg = proofAlgorithm(key) ?? '' } = {},
): Promise<string> {
  return await new CompactSign(Buffer.from(JSON.stringify(payload)))
    .setProtectedHeader({ alg, typ })
    .sign(key)
}

async function provenBy(report: object, key: KeyObject = device): Promise<string | undefined> {
  const peer = { deviceId: 'd', fingerprint, key: () => createPublicKey(key.export(pkcs8)) }
  return (await checkProof(Report.parse(report), peer))?.provenBy
}
const pkcs8 = { format: 'pem', type: 'pkcs8' } as const

describe('a proof', () => {
  test.each([
    ['ES256', generatePrivateKey('P-256')],
    ['ES384', generatePrivateKey('P-384')],
    ['EdDSA', generatePrivateKey('Ed25519')],
    ['RS256', generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey],
    ['ML-DSA-65', generatePrivateKey('ML-DSA-65')],
    ['ML-DSA-87', generatePrivateKey('ML-DSA-87')],
  ])('by a key for %s holds, and no other key could have made it', async (alg, key) => {
    const proof = await sign(claims, { key })
    expect(JSON.parse(Buffer.from(proof.split('.')[0] ?? '', 'base64url').toString())).toEqual({
      alg,
      typ: proofType,
    })
    expect(await provenBy({ ...said, proof }, key)).toBe(fingerprint)
    expect(await provenBy({ ...said, proof })).toBeUndefined()
  })

  test('holds for what it says only', async () => {
    const proof = await sign(claims)
    expect(await provenBy({ ...said, proof })).toBe(fingerprint)
    for (const change of [
      { deploymentId: '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f4' },
      { state: 'failed_final' },
      { sha256: 'ac'.repeat(32) },
      { at: '2026-11-26T10:00:00.001Z' },
      { code: 'hash' },
    ]) {
      expect(await provenBy({ ...said, ...change, proof })).toBeUndefined()
    }
  })

  test('is not what the same key signed for another purpose, or with more in it', async () => {
    for (const proof of [
      await sign(claims, { typ: 'JWT' }),
      await sign({ ...claims, extra: 1 }),
      await sign({ ...claims, counter: -1 }),
      await sign([claims]),
    ]) {
      expect(await provenBy({ ...said, proof })).toBeUndefined()
    }
  })

  test('without a signature, or with one by a secret, is none', async () => {
    const [, payload] = (await sign(claims)).split('.')
    const head = (alg: string) =>
      Buffer.from(JSON.stringify({ alg, typ: proofType })).toString('base64url')
    expect(await provenBy({ ...said, proof: `${head('none')}.${payload}.AA` })).toBeUndefined()
    expect(await provenBy({ ...said, proof: `${head('HS256')}.${payload}.AA` })).toBeUndefined()
    expect(await provenBy({ ...said, proof: 'a.b.c' })).toBeUndefined()
  })

  test('may be absent: then there is nothing to check', async () => {
    const peer = { deviceId: 'd', fingerprint, key: () => device }
    expect(checkProof(Report.parse(said), peer)).toBeUndefined()
  })
})
