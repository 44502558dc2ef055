import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'

import { afterAll, beforeAll, describe, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { listenHttps } from '../../server/http/listen.ts'
import { createTestDatabase } from '../support/database.ts'
import { estClient, listenForDevices } from '../support/est-client.ts'
import { createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'

/** Short, so that what has to end does so within the test. */
const limits = {
  handshakeMs: 300,
  headersMs: 300,
  requestMs: 300,
  stallMs: 5_000,
  maxConnections: 20,
}

let handle: DatabaseHandle
let world: IdentityWorld
let listeners: Awaited<ReturnType<typeof listenForDevices>>
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  listeners = await listenForDevices(world.ctx, limits)
})
afterAll(async () => {
  await listeners[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function tcp(port = listeners.device.port): Promise<Socket> {
  const socket = connectTcp(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

async function tls(port = listeners.device.port): Promise<Socket> {
  const { rootPem: ca } = world.ctx.authorities
  const socket = connectTls({
    host: 'localhost',
    servername: 'localhost',
    port,
    ca,
  })
  socket.on('error', () => {})
  await once(socket, 'secureConnect')
  return socket
}

/** What comes until the other side ends the connection; a listener that never does fails the test by its time limit. */
async function untilClosed(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
  })
  await once(socket, 'close')
  return text
}

const answers = async () =>
  (await estClient(world.ctx, listeners.device.port)({ path: 'cacerts' })).status

describe('a connection that', () => {
  test('never finishes its handshake is ended', async () => {
    const silent = await tcp()
    const babbling = await tcp()
    babbling.write('GET / HTTP/1.1\r\n\r\n')
    await Promise.all([untilClosed(silent), untilClosed(babbling)])
    expect(await answers()).toBe(200)
  })

  test.each([
    ['sends its headers slowly', 'GET /.well-known/est/cacerts HTTP/1.1\r\nHost: loc'],
    [
      'sends its body slowly',
      'POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\nAuthorization: Basic Og==\r\nContent-Length: 100\r\n\r\nA',
    ],
    [
      'calls its body an upload',
      'POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\nContent-Length: 100\r\n\r\nA',
    ],
  ])('%s is ended', async (_what, head) => {
    const socket = await tls()
    socket.write(head)
    expect(await untilClosed(socket)).not.toMatch(/^HTTP\/1\.1 200/)
    expect(await answers()).toBe(200)
  })

  test.each([
    ['speaks no HTTP', '\u0000\u0001\u0002\r\n\r\n', /^(HTTP\/1\.1 400|$)/],
    [
      'sends headers without end',
      `GET / HTTP/1.1\r\nHost: x\r\n${'x: y\r\n'.repeat(4_000)}`,
      /^(HTTP\/1\.1 431|$)/,
    ],
    [
      'says two lengths',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab',
      /^(HTTP\/1\.1 400|$)/,
    ],
    [
      'smuggles',
      'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      /^(HTTP\/1\.1 400|$)/,
    ],
  ])('%s is refused', async (_what, bytes, expected) => {
    const socket = await tls()
    socket.write(bytes, 'latin1')
    expect(await untilClosed(socket)).toMatch(expected)
    expect(await answers()).toBe(200)
  })

  test('breaks off at any point leaves the server up', async () => {
    for (const bytes of ['', '\u0016\u0003\u0001', 'GET']) {
      const raw = await tcp()
      raw.write(bytes, 'latin1')
      raw.resetAndDestroy()
      const inside = await tls()
      inside.write(bytes, 'latin1')
      inside.destroy()
    }
    expect(await answers()).toBe(200)
  })
})

test('an upload that was answered unread cannot trickle in without end', async () => {
  await using listener = await listenHttps(
    world.ctx,
    (_req, res) => void res.writeHead(401).end(),
    {
      port: 0,
      clientCertificates: false,
      limits: { ...limits, uploadMs: 3_600_000 },
    },
  )
  const socket = await tls(listener.port)
  socket.write('PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n')
  socket.write('Content-Length: 100000\r\n\r\n')
  const trickle = setInterval(() => socket.writable && socket.write('x'), 50)
  const closed = new Promise((resolve) => void socket.once('close', resolve))
  expect(String((await once(socket, 'data'))[0])).toMatch(/^HTTP\/1\.1 401 /)
  await closed
  clearInterval(trickle)
})

test('more connections than the limit are not accepted, and make room when they end', async () => {
  const open = await Promise.all(Array.from({ length: limits.maxConnections }, () => tcp()))
  await expect(answers()).rejects.toThrow()
  for (const socket of open) socket.destroy()
  await expect.poll(answers, { timeout: 10_000 }).toBe(200)
})

test('stopping ends what is open, within its time', async () => {
  const own = await listenForDevices(world.ctx, limits)
  const idle = await tcp(own.device.port)
  const half = await tcp(own.public.port)
  half.write('GET / HTTP/1.1\r\nHost: x\r\n')
  const closed = Promise.all([once(idle, 'close'), once(half, 'close')])
  idle.resume()
  half.resume()
  await own[Symbol.asyncDispose]()
  await closed
})
