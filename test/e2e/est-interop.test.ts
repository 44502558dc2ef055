import type { ConnectionOptions } from 'node:tls'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { buildTbs } from '../../pki/x509/profiles.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createTestDatabase } from '../support/database.ts'
import { base64Lines, estClient, listenForDevices } from '../support/est-client.ts'
import {
  createIdentityWorld,
  type IdentityWorld,
  newRequest,
  unique,
  type WorldContext,
} from '../support/identity-world.ts'
import { type RawAnswer, rawHttp } from '../support/raw-http.ts'

/**
 * The wire forms of the interop matrix (pki.md section 8.3), byte by byte: what embedded EST clients send, and the only answers they read.
 * libest 3.2.0p passed by hand: cacerts, csrattrs, enrollment by Basic after a 401, re-enrollment with and without tls-unique, serverkeygen.
 */
let handle: DatabaseHandle
let world: IdentityWorld
let ctx: WorldContext
let listeners: Awaited<ReturnType<typeof listenForDevices>>
let profile: { id: string; name: string }
let token: string
let options: ConnectionOptions

beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  ctx = world.ctx
  listeners = await listenForDevices(ctx)
  profile = await world.givenProfile()
  token = await world.givenToken(profile.id)
  options = { port: listeners.device.port, ca: ctx.authorities.rootPem }
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

/** The order and set of headers of a C client that knows no keep-alive. */
function get(operation: string, connection = 'close'): string {
  return [
    `GET /.well-known/est/${operation} HTTP/1.1`,
    'User-Agent: C client',
    `Connection: ${connection}`,
    'Host: localhost',
    'Accept: */*',
    '\r\n',
  ].join('\r\n')
}

function post(body: string, more: readonly string[] = [], operation = 'simpleenroll'): string {
  return [
    `POST /.well-known/est/${operation} HTTP/1.1`,
    'User-Agent: C client',
    'Connection: close',
    'Host: localhost',
    'Accept: */*',
    'Content-Type: application/pkcs10',
    `Content-Length: ${body.length}`,
    ...more,
    '',
    body,
  ].join('\r\n')
}

const basic = () =>
  `Authorization: Basic ${Buffer.from(`${profile.name}:${token}`).toString('base64')}`
const header = (
  { headers }: RawAnswer | undefined = { status: 0, headers: [], body: '' },
  name: string,
) => headers.filter(([each]) => each === name).map(([, value]) => value)

/** What a strict client needs of a body: lines of at most 64 characters, each ended by LF, nothing else. */
function expectReadable(answer: RawAnswer | undefined, type: string): Buffer[] {
  expect(header(answer, 'Content-Type')).toEqual([type])
  expect(header(answer, 'Content-Length')).toEqual([String(answer?.body.length)])
  expect(header(answer, 'Transfer-Encoding')).toEqual([])
  expect(answer?.body).toMatch(/^(?:[A-Za-z0-9+/]{64}\n)*[A-Za-z0-9+/]{1,64}={0,2}\n$/)
  return readCertsOnly(Buffer.from(answer?.body ?? '', 'base64'))
}

const enrolled = 'application/pkcs7-mime; smime-type=certs-only'

describe('libest', () => {
  test('cacerts and csrattrs', async () => {
    const { answers } = await rawHttp(options, [get('cacerts')])
    expect(answers[0]?.status).toBe(200)
    expect(expectReadable(answers[0], 'application/pkcs7-mime')).toHaveLength(3)
    const none = await rawHttp(options, [get('csrattrs')])
    expect([none.answers[0]?.status, none.answers[0]?.body]).toEqual([204, ''])
    expect(header(none.answers[0], 'Content-Type')).toEqual([])
  })

  test('asks without credentials, is told to use Basic, and comes back on a resumed session', async () => {
    const body = base64Lines(newRequest(unique('SN')).csr)
    const tls = { ...options, maxVersion: 'TLSv1.2' } as const
    const first = await rawHttp(tls, [post(body)])
    expect(first.answers[0]?.status).toBe(401)
    expect(header(first.answers[0], 'WWW-Authenticate')).toEqual([expect.stringMatching(/^Basic /)])
    expect(header(first.answers[0], 'Content-Type')).toEqual(['text/plain; charset=utf-8'])
    const session = first.socket.getSession()
    const again = await rawHttp({ ...tls, ...(session && { session }) }, [post(body, [basic()])])
    expect(again.socket.isSessionReused()).toBe(true)
    expect(again.answers[0]?.status).toBe(200)
    expect(expectReadable(again.answers[0], enrolled)).toHaveLength(1)
  })
})

describe('forms of a request', () => {
  const csr = () => newRequest(unique('SN')).csr
  const chunked = (body: string) =>
    post('', [basic(), 'Transfer-Encoding: chunked'])
      .replace('Content-Length: 0\r\n', '')
      .concat(`${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`)

  test.each<[string, () => string]>([
    ['LF after 64 columns', () => post(base64Lines(csr()), [basic()])],
    ['CRLF after 76', () => post(base64Lines(csr(), { width: 76, end: '\r\n' }), [basic()])],
    ['one line', () => post(csr().toString('base64'), [basic()])],
    [
      'the header of RFC 7030',
      () => post(base64Lines(csr()), [basic(), 'Content-Transfer-Encoding: base64']),
    ],
    [
      'a header that is not true',
      () => post(base64Lines(csr()), [basic(), 'Content-Transfer-Encoding: 8bit']),
    ],
    ['PEM', () => post(toPem('CERTIFICATE REQUEST', csr()), [basic()])],
    ['chunked', () => chunked(base64Lines(csr()))],
    ['waiting for 100-continue', () => post(base64Lines(csr()), [basic(), 'Expect: 100-continue'])],
  ])('%s', async (_name, request) => {
    const { answers } = await rawHttp(options, [request()])
    expect(answers[0]?.status).toBe(200)
    expect(expectReadable(answers[0], enrolled)).toHaveLength(1)
  })

  test('E19 pipelined on a connection that is kept, answered in order', async () => {
    const body = base64Lines(csr())
    const kept = (text: string) => text.replace('Connection: close', 'Connection: keep-alive')
    const requests = [
      get('cacerts', 'keep-alive'),
      kept(post(body, [basic()])),
      get('csrattrs', 'keep-alive'),
      get('nonsense', 'keep-alive'),
      get('cacerts'),
    ]
    const { answers } = await rawHttp(options, [requests.join('')], requests.length)
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 204, 404, 200])
    expectReadable(answers[1], enrolled)
    expect(answers[4]?.body).toBe(answers[0]?.body)
  })
})

describe('E22 versions and kinds of keys', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('a client that knows only %s', async (version) => {
    const tls = { ...options, minVersion: version, maxVersion: version }
    const body = base64Lines(newRequest(unique('SN')).csr)
    const { answers, socket } = await rawHttp(tls, [post(body, [basic()])])
    expect([answers[0]?.status, socket.getProtocol()]).toEqual([200, version])
  })

  test('an RSA certificate of the server', async () => {
    const { servers, tls: real } = ctx.authorities
    const key = generatePrivateKey('RSA-2048')
    const start = Math.floor(Date.now() / 1000) * 1000 - 60_000
    const tbs = buildTbs('server', {
      serial: newSerial(),
      issuer: {
        name: servers.certificate.subject,
        keyId: servers.certificate.subjectKeyId ?? Buffer.alloc(20),
      },
      subject: encodeName({ commonName: 'localhost' }),
      spki: spkiOf(key),
      notBefore: new Date(start),
      notAfter: new Date(start + 86_400_000),
      san: [{ type: 'dns', value: 'localhost' }],
      signatureAlgorithm: servers.signer.algorithm,
    })
    const leaf = toPem('CERTIFICATE', await signCertificate(tbs, servers.signer))
    const { notBefore, notAfter } = real
    const tls = {
      key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
      cert: leaf + toPem('CERTIFICATE', servers.der),
      notBefore,
      notAfter,
    }
    const authorities = Object.create(ctx.authorities, {
      tls: { value: tls },
    }) as typeof ctx.authorities
    await using rsa = await listenForDevices({ ...ctx, authorities })
    for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { answers, socket } = await rawHttp(
        { ...options, port: rsa.device.port, minVersion: version, maxVersion: version },
        [get('cacerts')],
      )
      expect(answers[0]?.status).toBe(200)
      expect(socket.getPeerX509Certificate()?.publicKey.asymmetricKeyType).toBe('rsa')
    }
  })

  test('an ML-DSA client enrolls and is let in', async () => {
    const est = estClient(ctx, listeners.device.port)
    const { key, csr } = newRequest(unique('SN'), { algorithm: 'ML-DSA-65' })
    const call = { path: 'simpleenroll', user: profile.name, token, body: base64Lines(csr) }
    const [der = Buffer.alloc(0)] = (await est(call)).certificates
    const client = { key, der }
    const answer = await est({ path: '/nothing-here', client })
    expect([answer.status, answer.socket.getProtocol()]).toEqual([404, 'TLSv1.3'])
  })
})
