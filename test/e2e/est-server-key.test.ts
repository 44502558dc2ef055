import { createPrivateKey, type KeyObject } from 'node:crypto'

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { idOfCertificate } from '../../pki/cms/certificate-id.ts'
import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { buildCsr } from '../../pki/csr/build.ts'
import { encodeDecryptKey } from '../../pki/est/decrypt-key.ts'
import { openGeneratedKey } from '../../pki/est/server-key.ts'
import { generatePrivateKey, readPublicKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { fromPem } from '../../pki/pem.ts'
import { type Certificate, fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { csrWithAttributes } from '../support/csr-attributes.ts'
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
  unique,
  type WorldContext,
} from '../support/identity-world.ts'

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let est: (call: EstCall) => Promise<EstAnswer>

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  listeners = await listenForDevices(ctx)
  est = estClient(ctx, listeners.device.port)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function givenKeyLine(serverKey: 'P-256' | 'RSA-2048' | 'ML-DSA-44' = 'P-256') {
  const profile = await world.givenProfile()
  await world.givenEstPolicy(profile.id, { renewal: { opensPercent: 0 }, serverKey })
  return { profile, token: await world.givenToken(profile.id) }
}

interface Part {
  type: string
  encoding: string
  der: Buffer
}

/** The parts of multipart/mixed, read by the rules of RFC 2046 and nothing of ours. */
function partsOf({ headers, text }: EstAnswer): Part[] {
  const [, boundary = ''] =
    /^multipart\/mixed; boundary=(\S+)$/.exec(headers['content-type'] ?? '') ?? []
  expect(boundary).not.toBe('')
  const pieces = `\r\n${text}`.split(`\r\n--${boundary}`)
  expect(pieces.at(-1)?.trim()).toBe('--')
  return pieces.slice(1, -1).map((piece) => {
    const [head = '', body = ''] = piece.split('\r\n\r\n', 2)
    const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(head)?.[1]?.trim() ?? ''
    const encoding = field('Content-Transfer-Encoding')
    return { type: field('Content-Type'), encoding, der: Buffer.from(body, 'base64') }
  })
}

function issuedIn(parts: Part[]): { key: Part; certificate: Certificate } {
  const [key, certs] = parts
  if (!key || !certs || parts.length !== 2) throw new Error('not two parts')
  expect(certs.type).toBe('application/pkcs7-mime; smime-type=certs-only')
  expect([key.encoding, certs.encoding]).toEqual(['base64', 'base64'])
  const [der, ...others] = readCertsOnly(certs.der)
  if (!der || others.length > 0) throw new Error('not one certificate')
  return { key, certificate: parseCertificate(der) }
}

const open = (der: Buffer): KeyObject =>
  createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })

describe('E16 serverkeygen', () => {
  test.each(['P-256', 'RSA-2048', 'ML-DSA-44'] as const)(
    'gives a %s key and its certificate; key and signature of the request are ignored',
    async (algorithm) => {
      const { profile, token } = await givenKeyLine(algorithm)
      const csr = buildCsr(generatePrivateKey('P-256'), {
        subject: encodeName({ commonName: unique('SN') }),
      })
      csr[csr.length - 1] = (csr[csr.length - 1] ?? 0) ^ 1
      const path = `${profile.name}/serverkeygen`
      const answer = await est({ path, user: '', token, body: base64Lines(csr) })
      expect(answer.status).toBe(200)
      expect(answer.headers['content-length']).toBe(String(Buffer.byteLength(answer.text)))
      expect(answer.headers['fleetseal-renew-at']).toBeDefined()
      const { key, certificate } = issuedIn(partsOf(answer))
      expect(key.type).toBe('application/pkcs8')
      const made = open(key.der)
      expect(spkiOf(made)).toEqual(certificate.spki)
      expect(readPublicKey(certificate.spki).algorithm).toBe(algorithm)
      if (algorithm === 'ML-DSA-44') return
      expect(
        (await est({ path: '/none', client: { key: made, der: certificate.der } })).status,
      ).toBe(404)
    },
  )

  test('a device renews with its certificate, and gets another key', async () => {
    const { profile } = await givenKeyLine()
    const device = await world.givenDevice({ profile })
    const { subject } = parseCertificate(device.der)
    const uris = [`urn:uuid:${device.deviceId}`]
    const body = base64Lines(buildCsr(device.key, { subject, uris }))
    const answer = await est({ path: 'serverkeygen', client: device, body })
    const { certificate } = issuedIn(partsOf(answer))
    expect(certificate.subject).toEqual(subject)
    expect(certificate.spki).not.toEqual(parseCertificate(device.der).spki)
    const audited = await ctx.db
      .selectFrom('audit_event')
      .select('facts')
      .where('action', '=', 'certificate.server-key')
      .where('subject', '=', fingerprint(certificate.der))
      .executeTakeFirst()
    expect(audited?.facts).toEqual({ algorithm: 'P-256', isEncrypted: false })
  })
})

describe('serverkeygen is refused', () => {
  test('where it is not offered (501), without credentials (401), or for other names', async () => {
    const { profile, token } = await givenKeyLine()
    const plain = await world.givenProfile()
    const body = base64Lines(
      buildCsr(generatePrivateKey('P-256'), { subject: encodeName({ commonName: unique('SN') }) }),
    )
    expect((await est({ path: `${plain.name}/serverkeygen`, body })).status).toBe(501)
    const user = plain.name
    const own = await world.givenToken(plain.id)
    expect((await est({ path: 'serverkeygen', user, token: own, body })).status).toBe(501)
    expect((await est({ path: 'serverkeygen', body })).status).toBe(401)
    expect((await est({ path: `${profile.name}/serverkeygen`, body })).status).toBe(401)
    const call = { path: `${profile.name}/serverkeygen`, user: '', token }
    expect((await est({ ...call, body: 'AAAA' })).status).toBe(400)
    expect((await est({ ...call, body, headers: { 'Content-Type': 'text/plain' } })).status).toBe(
      415,
    )
    const named = buildCsr(generatePrivateKey('P-256'), {
      subject: encodeName({ commonName: unique('SN') }),
      uris: ['urn:uuid:00000000-0000-4000-8000-000000000000'],
    })
    expect((await est({ ...call, body: base64Lines(named) })).status).toBe(403)
    expect((await est({ ...call, body })).status).toBe(200)
    // A second key for a device that has one is a matter of the profile, as with any enrollment.
    expect((await est({ ...call, body })).status).toBe(403)
  })
})

test('F2 a request that was changed at random is refused or granted, never an error of ours', async () => {
  const { profile, token } = await givenKeyLine()
  const uris = ['urn:uuid:00000000-0000-4000-8000-000000000000']
  const csr = buildCsr(generatePrivateKey('P-256'), {
    subject: encodeName({ commonName: unique('SN'), serialNumber: unique('SN') }),
    uris,
  })
  const change = fc.tuple(fc.nat(csr.length - 1), fc.integer({ min: 1, max: 255 }))
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const der = Buffer.from(csr)
      for (const [at, bits] of changes) der[at] = (der[at] ?? 0) ^ bits
      const path = `${profile.name}/serverkeygen`
      const answer = await est({ path, user: '', token, body: base64Lines(der) })
      expect([200, 400, 403]).toContain(answer.status)
    }),
    { seed: 13, numRuns: 150 },
  )
})

describe('E17 serverkeygen with a key to encrypt to', () => {
  const subjectOf = (der: Buffer) => parseCertificate(der).subject

  test('of the certificate in the handshake: CMS, which only its key opens', async () => {
    const { profile } = await givenKeyLine()
    const device = await world.givenDevice({ profile })
    const { subjectKeyId } = parseCertificate(device.der)
    const body = base64Lines(
      csrWithAttributes(
        device.key,
        { subject: subjectOf(device.der), uris: [`urn:uuid:${device.deviceId}`] },
        [encodeDecryptKey({ kind: 'asymmetric', id: subjectKeyId ?? Buffer.alloc(0) })],
      ),
    )
    const answer = await est({ path: 'serverkeygen', client: device, body })
    expect(answer.status).toBe(200)
    const { key, certificate } = issuedIn(partsOf(answer))
    expect(key.type).toBe('application/pkcs7-mime; smime-type=server-generated-key')
    const [server] = fromPem(ctx.authorities.tls.cert, 'CERTIFICATE')
    const generator = parseCertificate(server ?? Buffer.alloc(0)).spki
    const id = idOfCertificate(device.der)
    const own = { kind: 'private-key', id, key: device.key } as const
    expect(spkiOf(open(openGeneratedKey(key.der, own, generator)))).toEqual(certificate.spki)
    const other = { ...own, key: generatePrivateKey('P-256') }
    expect(() => openGeneratedKey(key.der, other, generator)).toThrow()
  })

  test('that is not known, or shared: 400, and nothing is issued or sent in the clear', async () => {
    const { profile, token } = await givenKeyLine()
    const device = await world.givenDevice({ profile })
    const { subjectKeyId: id = Buffer.alloc(0) } = parseCertificate(device.der)
    const wanted = [
      encodeDecryptKey({ kind: 'asymmetric', id: Buffer.alloc(20, 7) }),
      encodeDecryptKey({ kind: 'symmetric', id: Buffer.from('shared') }),
      encodeDecryptKey({ kind: 'symmetric', id }),
    ]
    for (const attribute of wanted) {
      const names = { subject: subjectOf(device.der), uris: [`urn:uuid:${device.deviceId}`] }
      const body = base64Lines(csrWithAttributes(device.key, names, [attribute]))
      const answer = await est({ path: 'serverkeygen', client: device, body })
      expect([answer.status, answer.text]).toEqual([400, expect.stringMatching(/not known/)])
    }
    // A token proves no key.
    const subject = encodeName({ commonName: unique('SN') })
    const attribute = encodeDecryptKey({ kind: 'asymmetric', id })
    const body = base64Lines(csrWithAttributes(device.key, { subject }, [attribute]))
    const path = `${profile.name}/serverkeygen`
    expect((await est({ path, user: '', token, body })).status).toBe(400)
  })
})
