import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { validatePath } from '../../pki/path-validate.ts'
import { toPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import {
  base64Lines,
  type EstAnswer,
  type EstCall,
  estClient,
  listenForDevices,
} from '../support/est-client.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>
let profile: { id: string; name: string; groupId: string }
let token: string

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  listeners = await listenForDevices(ctx)
  est = estClient(ctx, listeners.device.port)
  profile = await world.givenProfile()
  token = await world.givenToken(profile.id)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const request = () => newRequest(unique('SN'))
const enrollBody = (body: string | Buffer, headers: Record<string, string> = {}) =>
  est({ path: 'simpleenroll', user: profile.name, token, body, headers })

function expectPlainError(answer: EstAnswer, status: number) {
  expect(answer.status).toBe(status)
  expect(answer.headers['content-type']).toBe('text/plain; charset=utf-8')
  expect(answer.text.length).toBeLessThan(300)
}

describe('cacerts', () => {
  test('E1 anonymous: root and issuers, with a length and exact types', async () => {
    const answer = await est({ path: 'cacerts' })
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/pkcs7-mime')
    expect(answer.headers['content-length']).toBe(String(answer.text.length))
    expect(answer.headers['transfer-encoding']).toBeUndefined()
    const { root, devices, servers } = ctx.authorities
    const sorted = (list: Buffer[]) => list.toSorted((a, b) => a.compare(b))
    expect(sorted(answer.certificates)).toEqual(sorted([root.der, devices.der, servers.der]))
    expect(answer.text.split('\n').every((line) => line.length <= 64)).toBe(true)
  })

  test('E2 with a label, and not with an unknown one or an unknown operation', async () => {
    expect((await est({ path: `${profile.name}/cacerts` })).status).toBe(200)
    for (const path of [
      'no-such-line/cacerts',
      'cacert',
      '',
      'a/b/cacerts',
      'CACERTS',
      '%00/cacerts',
      'cacerts/',
    ]) {
      expectPlainError(await est({ path }), 404)
    }
  })

  test('E3 POST is refused with Allow, HEAD has no body', async () => {
    const post = await est({ path: 'cacerts', body: 'x' })
    expectPlainError(post, 405)
    expect(post.headers.allow).toBe('GET, HEAD')
    const head = await est({ path: 'cacerts', method: 'HEAD' })
    expect([head.status, head.text]).toEqual([200, ''])
    expect(Number(head.headers['content-length'])).toBeGreaterThan(1000)
    expectPlainError(await est({ path: 'simpleenroll' }), 405)
  })

  test('E15 csrattrs has none; what is not offered says so', async () => {
    expect((await est({ path: 'csrattrs' })).status).toBe(204)
    for (const path of [`${profile.name}/serverkeygen`, 'fullcmc'])
      expectPlainError(await est({ path, body: 'x' }), 501)
  })
})

describe('simpleenroll: what comes back', () => {
  test('E14 gives exactly the certificate, which chains to the root and fits the key', async () => {
    const { key, csr } = request()
    const answer = await enrollBody(base64Lines(csr))
    expect(answer.status).toBe(200)
    expect(answer.headers['content-type']).toBe('application/pkcs7-mime; smime-type=certs-only')
    expect(answer.headers['content-length']).toBe(String(answer.text.length))
    expect(answer.certificates).toHaveLength(1)
    const [der = Buffer.alloc(0)] = answer.certificates
    const { devices, root } = ctx.authorities
    const verdict = validatePath([der, devices.der], [root.der], {
      at: new Date(),
      purpose: 'clientAuth',
    })
    expect(verdict.valid).toBe(true)
    const certificate = parseCertificate(der)
    // Where third parties look for revocation: the port that really listens.
    expect(certificate.crlDistributionPoints?.[0]?.uris).toEqual([
      `http://localhost:${listeners.public.port}/crl/${devices.id}-${(certificate.serial.at(-1) ?? 0) % 16}.crl`,
    ])
    expect((await est({ path: '/artifacts/none', client: { key, der } })).status).not.toBe(200)
  })

  test('with a label, also with an empty user name', async () => {
    for (const user of ['', profile.name]) {
      const body = base64Lines(request().csr)
      const answer = await est({ path: `${profile.name}/simpleenroll`, user, token, body })
      expect(answer.status).toBe(200)
    }
  })
})

describe('simpleenroll: bodies', () => {
  test('E4, E5 Content-Type: exact type, parameters and case do not matter', async () => {
    const body = base64Lines(request().csr)
    for (const type of ['application/json', 'application/pkcs7-mime', 'text/plain', '']) {
      expectPlainError(await enrollBody(body, { 'Content-Type': type }), 415)
    }
    for (const type of ['application/pkcs10; charset=utf-8', 'APPLICATION/PKCS10;x=y']) {
      expect((await enrollBody(body, { 'Content-Type': type })).status).toBe(200)
    }
  })

  test('E6, E7, C18 ways to write base64', async () => {
    const { csr } = request()
    const plain = csr.toString('base64')
    for (const body of [
      plain,
      base64Lines(csr, { width: 76, end: '\r\n' }),
      ` ${plain.slice(0, 10)}\t ${plain.slice(10)}\r\n\r\n`,
      plain.replace(/=+$/, ''),
      toPem('CERTIFICATE REQUEST', csr),
      toPem('NEW CERTIFICATE REQUEST', csr),
    ]) {
      expect((await enrollBody(body, { 'Content-Transfer-Encoding': 'binary' })).status).toBe(200)
    }
    for (const body of [
      csr,
      `${plain}*`,
      plain.slice(0, -5),
      `${plain}AAAA`,
      toPem('CERTIFICATE', csr),
      '====',
      `=${plain}`,
    ]) {
      expectPlainError(await enrollBody(body), 400)
    }
  })

  test('E8 an empty body, E9 a body over 64 KiB', async () => {
    expectPlainError(await enrollBody(''), 400)
    expectPlainError(await enrollBody(' \r\n'), 400)
    expectPlainError(await enrollBody('A'.repeat(65_537)), 413)
    expectPlainError(await enrollBody('A'.repeat(65_536)), 400)
    const gzip = await enrollBody(base64Lines(request().csr), { 'Content-Encoding': 'gzip' })
    expectPlainError(gzip, 415)
  })

  test('C2, C4 a request that is not strictly right is refused and costs nothing', async () => {
    const { csr } = request()
    const flipped = Buffer.from(csr)
    flipped[flipped.length - 3] = (flipped[flipped.length - 3] ?? 0) ^ 1
    for (const der of [flipped, Buffer.concat([csr, Buffer.from([0])]), Buffer.from('not DER')]) {
      expectPlainError(await enrollBody(base64Lines(der)), 400)
    }
    expect((await enrollBody(base64Lines(csr))).status).toBe(200)
  })
})

describe('simpleenroll: who asks', () => {
  test('E10, A25 without or with wrong credentials: 401 that asks for Basic', async () => {
    const other = await world.givenProfile()
    const body = base64Lines(request().csr)
    const wrong: Partial<EstCall>[] = [
      {},
      { user: profile.name, token: 'wrong' },
      { user: other.name, token },
      { user: profile.name, token: `${token}x` },
      { path: `${other.name}/simpleenroll`, user: '', token },
      { headers: { Authorization: 'Digest username="x"' } },
      { headers: { Authorization: 'Bearer abc' } },
      { headers: { Authorization: 'Basic !!!' } },
      { headers: { Authorization: `Basic ${Buffer.from('no colon').toString('base64')}` } },
    ]
    for (const call of wrong) {
      const answer = await est({ path: 'simpleenroll', body, ...call })
      expectPlainError(answer, 401)
      expect(answer.headers['www-authenticate']).toMatch(/^Basic realm=/)
    }
    expect((await est({ path: 'simpleenroll', body, user: profile.name, token })).status).toBe(200)
  })

  test('wrong tokens are limited by address and profile, and told of', async () => {
    const line = await world.givenProfile()
    const body = base64Lines(request().csr)
    const attempt = (user: string, secret: string) =>
      est({ path: 'simpleenroll', user, token: secret, body })
    const guess = `fse_${'x'.repeat(43)}`
    const statuses: number[] = []
    for (let n = 0; n < 22; n++) statuses.push((await attempt(line.name, guess)).status)
    expect(statuses.filter((status) => status === 401)).toHaveLength(20)
    // Neither of another line, nor of no form, is a right one.
    for (const wrong of [guess, 'short', await world.givenToken(profile.id)]) {
      const limited = await attempt(line.name, wrong)
      expectPlainError(limited, 429)
      expect(limited.headers['retry-after']).toBeDefined()
    }
    // Another line is not touched by it, and the limit ends.
    expect((await attempt(profile.name, token)).status).toBe(200)
    ctx.clock.advance({ seconds: 61 })
    expect((await attempt(line.name, guess)).status).toBe(401)
  })

  test('whoever guesses at an address locks out no device behind it that has a right token', async () => {
    const line = await world.givenProfile()
    const attempt = (secret: string) =>
      est({
        path: 'simpleenroll',
        user: line.name,
        token: secret,
        body: base64Lines(request().csr),
      })
    const wrong = `fse_${'x'.repeat(43)}`
    for (let n = 0; n < 21; n++) await attempt(wrong)
    expectPlainError(await attempt(wrong), 429)
    // Each device of a line may have a token of its own, which nobody has seen before.
    for (let n = 0; n < 2; n++) {
      const own = await world.givenToken(line.id, { maxUses: 1 })
      expect((await attempt(own)).status).toBe(200)
      // And what has been used up is still no way in.
      expect((await attempt(own)).status).toBe(403)
    }
    expectPlainError(await attempt(wrong), 429)
  })
})

describe('simpleenroll: keys, names and connections', () => {
  test('E24 every refusal is short plain text and never a certificate', async () => {
    const good = base64Lines(request().csr)
    const refused: [status: number, call: EstCall][] = [
      [400, { path: 'simpleenroll', user: profile.name, token, body: '!' }],
      [401, { path: 'simpleenroll', user: profile.name, token: 'wrong', body: good }],
      [403, { path: 'simplereenroll', body: good }],
      [404, { path: 'no-such-operation' }],
      [405, { path: 'simpleenroll' }],
      [413, { path: 'simpleenroll', user: profile.name, token, body: 'A'.repeat(100_000) }],
      [415, { path: 'simpleenroll', body: good, headers: { 'Content-Type': 'text/html' } }],
      [501, { path: 'fullcmc', body: good }],
    ]
    for (const [status, call] of refused) expectPlainError(await est(call), status)
    // The honest twin is anything but plain text.
    const answer = await enrollBody(good)
    expect(answer.headers['content-type']).toBe('application/pkcs7-mime; smime-type=certs-only')
  })

  test('C10 a request to be an authority, C12 a subject without a name', async () => {
    const key = generatePrivateKey('P-256')
    const { buildCsr } = await import('../../pki/csr/build.ts')
    const empty = buildCsr(key, { subject: encodeName({ organization: 'only' }) })
    expectPlainError(await enrollBody(base64Lines(empty)), 400)
    const deceptive = buildCsr(key, { subject: encodeName({ commonName: 'ünïcode' }) })
    expectPlainError(await enrollBody(base64Lines(deceptive)), 400)
  })

  test.each([
    'P-256',
    'P-384',
    'Ed25519',
    'RSA-2048',
    'RSA-3072',
    'ML-DSA-44',
    'ML-DSA-65',
    'ML-DSA-87',
  ] as const)('C1 a request for a %s key gets a certificate', async (algorithm) => {
    const { csr, key } = newRequest(unique('SN'), { algorithm })
    const answer = await enrollBody(base64Lines(csr))
    expect(answer.status).toBe(200)
    const [certificate] = answer.certificates.map((der) => parseCertificate(der))
    expect([certificate?.spki, [...(certificate?.keyUsage ?? [])]]).toEqual([
      spkiOf(key),
      ['digitalSignature'],
    ])
  })

  test('E20 chunked, E21 Expect: 100-continue, E22 TLS 1.2 and 1.3', async () => {
    const chunked = await enrollBody(base64Lines(request().csr), { 'Transfer-Encoding': 'chunked' })
    expect(chunked.status).toBe(200)
    const expecting = await enrollBody(base64Lines(request().csr), { Expect: '100-continue' })
    expect(expecting.status).toBe(200)
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const tls = { minVersion: version, maxVersion: version }
      const body = base64Lines(request().csr)
      const answer = await est({ path: 'simpleenroll', user: profile.name, token, body, tls })
      expect([answer.status, answer.socket.getProtocol()]).toEqual([200, version])
    }
    const old = {
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    } as const
    await expect(est({ path: 'cacerts', tls: old })).rejects.toThrow()
  })
})
