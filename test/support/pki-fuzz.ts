import type { KeyObject } from 'node:crypto'
import { sign } from 'node:crypto'

import { crlEntries, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { statusByCrls } from '../../pki/crl/status.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { bitString, sequence } from '../../pki/der/writer.ts'
import { PkiError } from '../../pki/errors.ts'
import { generatePrivateKey, readPublicKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { answerOcsp } from '../../pki/ocsp/answer.ts'
import { encodeCertId } from '../../pki/ocsp/cert-id.ts'
import { checkOcspResponse } from '../../pki/ocsp/check.ts'
import { buildOcspRequest, parseOcspRequest } from '../../pki/ocsp/request.ts'
import { parseOcspResponse } from '../../pki/ocsp/response.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { lintTbs } from '../../pki/x509/lint.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { makeCrl } from './crl-fixture.ts'
import { Dice, mutateBytes, mutateTree, toDer, toTree } from './der-mutations.ts'
import { good, makeResponder, revoked } from './ocsp-fixture.ts'
import {
  crlUrl,
  deviceId,
  deviceInput,
  ecdsaWithSha256,
  issue,
  makeIssuer,
  makeRoot,
  now,
} from './pki-fixture.ts'
import { leafInput, leafProfiles } from './profile-inputs.ts'

export type FuzzKind = 'certificate' | 'csr' | 'crl' | 'ocsp-request' | 'ocsp-response'
export const fuzzKinds: readonly FuzzKind[] = [
  'certificate',
  'csr',
  'crl',
  'ocsp-request',
  'ocsp-response',
]

export interface FuzzTarget {
  readonly seeds: readonly [Buffer, ...Buffer[]]
  /** Reads it and everything behind it; may throw PkiError only. */
  readonly read: (der: Buffer) => void
  /** Puts right what would hide all else: the signature of a request by its own key. */
  readonly repair: (der: Buffer) => Buffer
}

/** Honest inputs of each kind, and what reads them. */
export async function fuzzTargets(): Promise<Readonly<Record<FuzzKind, FuzzTarget>>> {
  const root = await makeRoot()
  const issuer = await makeIssuer(root, { permittedNames: [encodeName({ organization: 'Test' })] })
  const key = generatePrivateKey('P-256')
  const spki = spkiOf(key)
  const device = await issue('device', issuer, deviceInput(issuer, spki))
  const responder = await makeResponder(issuer)
  const certificates: [Buffer, ...Buffer[]] = [root.certificate.der, issuer.certificate.der]
  for (const profile of leafProfiles) {
    certificates.push((await issue(profile, issuer, leafInput(profile, issuer, spki))).der)
  }
  const entries = [1, 6, 0].map((reason, index) => ({
    serial: Buffer.from([0x41, index]),
    revokedAt: now,
    reason,
  }))
  const shard = { url: crlUrl }
  const crls = [
    await makeCrl(issuer, entries, { shard, freshestUrl: crlUrl }),
    await makeCrl(issuer, entries, { shard, number: 9n, delta: { baseNumber: 7n } }),
  ] as const
  const ids = (['sha1', 'sha256'] as const).map((hash) =>
    encodeCertId(hash, responder.hashes, device.serial),
  )
  const request = buildOcspRequest(ids, Buffer.alloc(16, 7))
  const answer = await answerOcsp(request, responder, async () => [good, revoked], now)
  const subject = encodeName({ commonName: 'Pump', serialNumber: 'SN-7' })
  const question = { serial: device.serial, issuer: issuer.certificate, at: now }
  return {
    certificate: target(certificates, (der) => {
      const { tbs, spki: certified } = parseCertificate(der)
      readPublicKey(certified)
      lintTbs(tbs, 'device', issuer.certificate)
      const chain = [der, issuer.certificate.der]
      validatePath(chain, [root.certificate.der], { at: now, purpose: 'clientAuth' })
    }),
    csr: {
      ...target([buildCsr(key, { subject, uris: [`urn:uuid:${deviceId}`] })], parseCsr),
      repair: (der) => signAgain(der, key),
    },
    crl: target([crls[0].der, crls[1].der], (der) => {
      const crl = parseCrl(der)
      const count = [...crlEntries(crl)].length
      if (count !== crl.entryCount) throw new Error('Entries come and go')
      verifyCrl(crl, issuer.certificate)
      statusByCrls(device, issuer.certificate, [crls[0], crl], { at: now })
    }),
    'ocsp-request': target([request, buildOcspRequest(ids)], parseOcspRequest),
    'ocsp-response': target([answer.der], (der) => {
      parseOcspResponse(der)
      checkOcspResponse(der, question)
    }),
  }
}

function target(seeds: readonly [Buffer, ...Buffer[]], read: (der: Buffer) => unknown): FuzzTarget {
  return { seeds, repair: (der) => der, read: (der) => void read(der) }
}

/** The same request, signed by its key again, where it still has three parts. */
function signAgain(der: Buffer, key: KeyObject): Buffer {
  let info: Buffer
  try {
    const [first] = toTree(der).children ?? []
    if (!first) return der
    info = toDer(first)
  } catch (error) {
    if (error instanceof PkiError) return der
    throw error
  }
  return sequence(info, ecdsaWithSha256, bitString(sign('sha256', info, key)))
}

/** The mutation of this number: always the same for the same seeds. */
export function mutant({ seeds, repair }: FuzzTarget, number: number): Buffer {
  const dice = new Dice(number)
  const seed = dice.one(seeds)
  switch (dice.below(4)) {
    case 0:
      return mutateBytes(seed, dice)
    case 1:
      return mutateTree(seed, dice)
    case 2:
      return repair(mutateTree(seed, dice))
    default:
      return mutateBytes(mutateTree(seed, dice), dice)
  }
}

/** Whether it is read. Anything but a PkiError is thrown on, with the input in its message. */
export function accepts({ read }: FuzzTarget, der: Buffer): boolean {
  try {
    read(der)
    return true
  } catch (error) {
    if (error instanceof PkiError) return false
    throw new Error(`Not a typed error for ${der.toString('hex')}`, { cause: error })
  }
}
