import { readdir, stat } from 'node:fs/promises'
import {
  createServer as createHttp,
  type IncomingHttpHeaders,
  type RequestListener,
} from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'

import { afterEach, beforeAll, describe, expect, test } from 'vitest'

import { parseConfig } from '../../../device-sim/config.ts'
import type { StoreHost } from '../../../device-sim/update/store-redirects.ts'
import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { toPem } from '../../../pki/pem.ts'
import { DeviceBench, firmware } from '../../support/device-bench.ts'
import { daysFrom, issue, makeIssuer, makeRoot, serverInput } from '../../support/pki-fixture.ts'

// The device asks its server for bytes, and is sent to a store; whatever the store does, it gets them.
const secret = 'X-Amz-Signature=0123456789abcdef'
const wrong = Buffer.from(firmware)
wrong[7] = 0

let tls: { key: string; cert: string; ca: string }
beforeAll(async () => {
  const root = await makeRoot('P-256')
  const issuer = await makeIssuer(root)
  const key = generatePrivateKey('P-256')
  const now = new Date()
  const leaf = await issue('server', issuer, {
    ...serverInput(issuer, spkiOf(key)),
    notBefore: daysFrom(now, -1),
    notAfter: daysFrom(now, 30),
  })
  const pem = ({ der }: { der: Buffer }) => toPem('CERTIFICATE', der)
  tls = {
    key: key.export({ format: 'pem', type: 'pkcs8' }).toString(),
    cert: pem(leaf) + pem(issuer.certificate),
    ca: pem(root.certificate),
  }
})

let bench: DeviceBench
const ends: (() => Promise<void>)[] = []
afterEach(async () => {
  await bench[Symbol.asyncDispose]()
  for (const end of ends.splice(0)) await end()
})

interface Asked {
  url: string
  headers: IncomingHttpHeaders
  /** Whether the device showed a certificate. */
  isKnown: boolean
}

/** A store with TLS that asks for a certificate, or without on this machine. */
async function store(answer: RequestListener, { isPlain = false } = {}) {
  const asked: Asked[] = []
  const listener: RequestListener = (request, response) => {
    const { socket, headers, url = '' } = request
    const isKnown = socket instanceof TLSSocket && socket.getPeerX509Certificate() !== undefined
    asked.push({ url, headers, isKnown })
    answer(request, response)
  }
  const server = isPlain
    ? createHttp(listener)
    : createHttps({ ...tls, requestCert: true, rejectUnauthorized: false }, listener)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  ends.push(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  const host = isPlain ? `127.0.0.1:${port}` : `localhost:${port}`
  return { asked, host, link: `${isPlain ? 'http' : 'https'}://${host}/bucket/object?${secret}` }
}

const honest: RequestListener = (request, response) => {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
  const range = `bytes ${start}-${firmware.length - 1}/${firmware.length}`
  response.writeHead(start > 0 ? 206 : 200, start > 0 ? { 'content-range': range } : {})
  response.end(firmware.subarray(start))
}

/** What the server was asked for, in short. */
let served: { prefers: string | undefined; range: string | undefined }[]

/** A device that is sent to `link` when it asks for that, until it runs what it was sent. */
async function run(link: string, redirectHosts: StoreHost[]): Promise<void> {
  served = []
  bench = await DeviceBench.open()
  const { server } = bench
  server.answerArtifact = (request, response) => {
    const { prefer, range } = request.headers
    served.push({ prefers: prefer === undefined ? undefined : String(prefer), range })
    if (prefer === undefined) return server.honestArtifact(request, response)
    response.writeHead(307, { location: link }).end()
  }
  await bench.enroll({ redirectHosts })
  await bench.run()
  await bench.untilState('succeeded')
}

const fallbacks = () =>
  bench.server.events.flatMap(({ kind, detail = '' }) =>
    kind === 'delivery-fallback' ? [detail] : [],
  )
async function untilFallback(said: string): Promise<void> {
  await bench.until(() => expect(fallbacks()).toHaveLength(1))
  expect(fallbacks()[0]).toContain(said)
  expect(JSON.stringify(bench.server.events)).not.toContain(secret)
}

/** The device writes a quarter of a megabyte at a time. */
async function keptSome(): Promise<void> {
  const names = await readdir(bench.dir)
  const sizes = await Promise.all(
    names.map(async (name) => (await stat(join(bench.dir, name))).size),
  )
  expect(Math.max(...sizes)).toBeGreaterThanOrEqual(262_144)
}

describe('a device that may use a store', () => {
  test('fetches from it and shows it nothing of itself', async () => {
    const one = await store(honest)
    await run(one.link, [{ host: one.host, ca: tls.ca }])
    expect(one.asked).toHaveLength(1)
    const [{ url, headers, isKnown } = { url: '', headers: {}, isKnown: true }] = one.asked
    expect(url).toBe(`/bucket/object?${secret}`)
    expect(isKnown).toBe(false)
    expect(Object.keys(headers).toSorted()).toEqual(['accept-encoding', 'connection', 'host'])
    expect(served).toEqual([{ prefers: 'respond-redirect', range: undefined }])
    expect(fallbacks()).toEqual([])
  })

  test.each<[string, RequestListener, string]>([
    ['sends wrong bytes', (_, response) => void response.end(wrong), '(hash)'],
    ['refuses', (_, response) => void response.writeHead(403).end('<Error/>'), '(http-403)'],
    ['is down', ({ socket }) => void socket.destroy(), '(unreachable)'],
    [
      'sends more than was signed for',
      (_, response) => void response.write(Buffer.concat([firmware, firmware])),
      '(endless-data)',
    ],
    [
      'sends it on',
      (_, response) => void response.writeHead(307, { location: 'https://localhost/' }).end(),
      '(unreachable): The server answered 307',
    ],
  ])('gets the bytes from its server when the store %s', async (_what, answer, said) => {
    const bad = await store(answer)
    await run(bad.link, [{ host: bad.host, ca: tls.ca }])
    await untilFallback(`${bad.host} was not used ${said}`)
    expect(bad.asked).toHaveLength(1)
    expect(served.at(-1)).toEqual({ prefers: undefined, range: undefined })
  })

  test('goes on at its server where the store broke off', async () => {
    const half = await store(({ socket }, response) => {
      response.writeHead(200, { 'content-length': firmware.length })
      response.write(firmware.subarray(0, 300_000))
      void bench.until(keptSome).finally(() => socket.destroy())
    })
    await run(half.link, [{ host: half.host, ca: tls.ca }])
    await untilFallback('(unreachable)')
    expect(served[1]?.range).toMatch(/^bytes=[1-9]\d*-$/)
    expect(served).toHaveLength(2)
  })

  test('on this machine also without TLS', async () => {
    const plain = await store(honest, { isPlain: true })
    await run(plain.link, [{ host: plain.host }])
    expect([plain.asked.length, served.length]).toEqual([1, 1])
  })
})

describe('a device does not follow', () => {
  test('when no store is named: it does not even ask', async () => {
    const one = await store(honest)
    await run(one.link, [])
    expect(one.asked).toEqual([])
    expect(served).toEqual([{ prefers: undefined, range: undefined }])
  })

  test('to a store whose certificate it has no reason to trust', async () => {
    const one = await store(honest)
    await run(one.link, [{ host: one.host }])
    await untilFallback(`${one.host} was not used (unreachable)`)
    expect(one.asked).toEqual([])
  })

  test.each<[string, (link: string) => string]>([
    ['to another host', (link) => link.replace('localhost', '127.0.0.1')],
    ['without TLS', (link) => link.replace('https:', 'http:')],
    ['with a password', (link) => link.replace('//', '//a:b@')],
    ['to another scheme', (link) => link.replace('https:', 'file:')],
    ['to a path', () => '/elsewhere'],
    ['to more than it can hold', (link) => link + 'a'.repeat(8_200)],
  ])('%s', async (_what, change) => {
    const one = await store(honest)
    await run(change(one.link), [{ host: one.host, ca: tls.ca }])
    await untilFallback('a store was not used (redirect)')
    expect(one.asked).toEqual([])
  })
})

test.each(['https://s3.example', 's3.example/', 'a@s3.example', 's3.example:443', 'S3.example'])(
  '%s is no host',
  async (host) => {
    bench = await DeviceBench.open()
    const { config } = bench.enrollment({ redirectHosts: [{ host }] })
    expect(() => parseConfig(config)).toThrow('redirectHosts')
  },
)
