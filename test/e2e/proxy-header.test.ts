import { once } from 'node:events'
import type { RequestListener } from 'node:http'
import { type AddressInfo, connect as connectTcp, createServer, type Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { connect as connectTls } from 'node:tls'

import { afterAll, beforeAll, expect, test, vi } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { listenHttps, type Listening } from '../../server/http/listen.ts'
import { createGate } from '../../server/mqtt/gate.ts'
import { defaultLimits } from '../../server/mqtt/limits.ts'
import { RefusalLog } from '../../server/mqtt/refusal.ts'
import { parseNetworks } from '../../server/proxy-header.ts'
import { createTestDatabase } from '../support/database.ts'
import { createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'

const proxy = '127.0.0.2'
const header = Buffer.from('0d0a0d0a000d0a515549540a2111000cc00002070a0000011f9022b3', 'hex')

const sayFrom: RequestListener = (req, res) => {
  res.setHeader('Connection', 'close')
  res.end(`from ${req.socket.remoteAddress}`)
}

let handle: DatabaseHandle
let world: IdentityWorld
let ctx: IdentityWorld['ctx']
let listener: Listening
beforeAll(async () => {
  handle = await createTestDatabase()
  world = await createIdentityWorld(handle)
  const config = { ...world.ctx.config, proxyFrom: parseNetworks(proxy) }
  ctx = { ...world.ctx, config }
  listener = await listenHttps(ctx, sayFrom, {
    port: 0,
    clientCertificates: true,
    limits: { handshakeMs: 1_000 },
  })
})
afterAll(async () => {
  await listener[Symbol.asyncDispose]()
  await world[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

async function tcp(localAddress: string, port = listener.port): Promise<Socket> {
  const socket = connectTcp({ port, host: '127.0.0.1', localAddress })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** Unlike `once`, whatever error comes first. */
async function closed(socket: Socket): Promise<void> {
  await new Promise<void>((resolve) => socket.once('close', () => resolve()))
}

/** @returns what the server answered; nothing when it ended the connection before */
async function ask(socket: Socket): Promise<string> {
  const { rootPem: ca } = ctx.authorities
  const secure = connectTls({ socket, servername: 'localhost', ca })
  let text = ''
  secure.on('error', () => {})
  secure.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
  })
  secure.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await closed(secure)
  return text
}

test('the address is the one that the proxy says, also when the header comes byte by byte', async () => {
  const whole = await tcp(proxy)
  whole.write(header)
  expect(await ask(whole)).toContain('from 192.0.2.7')
  const slow = await tcp(proxy)
  slow.setNoDelay(true)
  for (const byte of header) {
    slow.write(Buffer.from([byte]))
    await nextTurn()
  }
  expect(await ask(slow)).toContain('from 192.0.2.7')
})

test('a connection of the proxy itself keeps its address', async () => {
  const socket = await tcp(proxy)
  socket.write(Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'))
  expect(await ask(socket)).toContain(`from ${proxy}`)
})

test('without a header nothing gets in from there, and with one nothing from elsewhere', async () => {
  expect(await ask(await tcp(proxy))).toBe('')
  const forged = await tcp('127.0.0.1')
  forged.write(header)
  expect(await ask(forged)).toBe('')
  expect(await ask(await tcp('127.0.0.1'))).toContain('from 127.0.0.1')
})

test('a header that does not end, or that is 10 KB long, ends the connection', async () => {
  for (const data of [header.subarray(0, 20), Buffer.concat([header, Buffer.alloc(10_240)])]) {
    const long = Buffer.from(data)
    if (long.length > 28) long.writeUInt16BE(10_252, 14)
    const socket = await tcp(proxy)
    socket.resume()
    const ended = closed(socket)
    socket.write(long)
    await ended
  }
})

async function closedFor(fault: string): Promise<number> {
  const { values } = await ctx.metrics.proxyRefused.get()
  return values.find(({ labels }) => labels.fault === fault)?.value ?? 0
}

test('what is closed for want of a header is counted, by what was wrong', async () => {
  for (const fault of ['bad', 'late', 'gone']) {
    const before = await closedFor(fault)
    const socket = await tcp(proxy)
    socket.resume()
    if (fault === 'bad') socket.write('GET / HTTP/1.1\r\n\r\n')
    if (fault === 'gone') socket.end(header.subarray(0, 20))
    await closed(socket)
    await expect.poll(async () => await closedFor(fault)).toBe(before + 1)
  }
  const before = await closedFor('bad')
  const good = await tcp(proxy)
  good.write(header)
  expect(await ask(good)).toContain('from 192.0.2.7')
  expect(await closedFor('bad')).toBe(before)
})

test('a proxy of the list is known on a listener of both versions too', async ({ skip }) => {
  const probe = createServer().listen(0, '::')
  const [what] = await once(probe, 'listening').catch((error: unknown) => [error])
  probe.close()
  if (what instanceof Error) return skip('this machine has no IPv6')
  const config = { ...ctx.config, bind: '::' }
  await using both = await listenHttps({ ...ctx, config }, sayFrom, {
    port: 0,
    clientCertificates: true,
  })
  const proxied = await tcp(proxy, both.port)
  proxied.write(header)
  expect(await ask(proxied)).toContain('from 192.0.2.7')
  expect(await ask(await tcp(proxy, both.port))).toBe('')
  expect(await ask(await tcp('127.0.0.1', both.port))).toContain('from ::ffff:127.0.0.1')
})

test('a refused device is recorded with the address that the proxy says', async () => {
  const refusals = new RefusalLog(ctx)
  const record = vi.spyOn(refusals, 'record').mockImplementation(() => {})
  const { server } = createGate(ctx, defaultLimits, refusals, (socket) => socket.destroy())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const socket = await tcp(proxy, port)
  socket.write(header)
  await ask(socket)
  const remoteAddress = '192.0.2.7'
  await expect
    .poll(() => record.mock.calls)
    .toContainEqual([
      expect.objectContaining({ reason: 'no-certificate' }),
      expect.objectContaining({ remoteAddress }),
    ])
  await ask(await tcp(proxy, port))
  await expect
    .poll(() => record.mock.calls)
    .toContainEqual([
      expect.objectContaining({ reason: 'proxy-header', facts: { fault: 'bad' } }),
      { remoteAddress: proxy },
    ])
  await new Promise((resolve) => server.close(resolve))
})
