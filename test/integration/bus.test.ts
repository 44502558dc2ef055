import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

import pg from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { Link } from '../../chaos/link.ts'
import { type Bus, type BusTiming, createPostgresBus } from '../../server/bus.ts'
import { ConnectionIndex } from '../../server/connections.ts'
import { createIdentityDirectory } from '../../server/devices/directory.ts'
import { actOnDevice } from '../../server/incidents/service.ts'
import { createLogger } from '../../server/log.ts'
import { identify } from '../../server/mqtt/identity.ts'
import type { Session } from '../../server/mqtt/session.ts'
import { createTestDatabase } from '../support/database.ts'
import { createIdentityWorld, type IdentityWorld } from '../support/identity-world.ts'

/* The notification connection when it is cut without a word, when it answers and tells nothing, and when it is told much at once. */

const log = createLogger('silent')
const patience = { timeout: 60_000 }
/** Pings often, and waits long enough for a busy machine. */
const quick: BusTiming = { pauseMs: 100, answerMs: 1_000 }
const stack = new AsyncDisposableStack()
let url: string
let world: IdentityWorld

beforeAll(async () => {
  const handle = stack.use(await createTestDatabase())
  if (handle.kind !== 'postgres') throw new Error('needs PostgreSQL')
  url = handle.url
  world = stack.use(await createIdentityWorld(handle))
})
afterAll(() => stack.disposeAsync())

function through(port: number): string {
  const way = new URL(url)
  way.port = String(port)
  return way.href
}

const portOf = (address: string) => Number(new URL(address).port)

function heard(bus: Bus): string[] {
  const ids: string[] = []
  bus.subscribe('wake', (more) => ids.push(...more))
  return ids
}

/** Listens as any other process does, for what really comes. */
async function listener(): Promise<{ client: pg.Client; payloads: string[] }> {
  const client = new pg.Client({ connectionString: url })
  await client.connect()
  const payloads: string[] = []
  client.on('notification', ({ payload = '' }) => payloads.push(payload))
  await client.query('listen fleetseal_wake')
  return { client, payloads }
}

test('a connection that is cut without a word is noticed, re-made, and what was missed is read', async () => {
  await using own = new AsyncDisposableStack()
  const link = own.use(await Link.open([{ host: '127.0.0.1', port: portOf(url) }]))
  const bus = own.use(await createPostgresBus(through(link.port), log, quick))
  const connections = new ConnectionIndex()
  const base = { ...world.ctx, bus, connections }
  // An hour: what the sweep would find is found by the re-read, or not at all.
  const identities = own.use(await createIdentityDirectory(base, { sweepMs: 3_600_000 }))
  const device = await world.givenDevice()
  const bystander = await world.givenDevice()
  const peer = own.adopt(createServer(), (server) => void server.close())
  peer.listen(0, '127.0.0.1')
  await once(peer, 'listening')
  const open = async ({ deviceId, fingerprint }: typeof device) => {
    const socket = connect((peer.address() as AddressInfo).port, '127.0.0.1')
    socket.on('error', () => {})
    own.defer(() => void socket.destroy())
    connections.add(socket, { deviceId, fingerprint })
    expect(await identities.check(fingerprint)).toMatchObject({ allowed: true })
    return socket
  }
  const socket = await open(device)
  const other = await open(bystander)
  expect(bus.connected()).toBe(true)
  expect(identities.mayHaveMissed?.()).toBe(false)

  link.part()
  await actOnDevice(world.ctx, {
    deviceId: device.deviceId,
    action: 'disable',
    reason: 'lost',
    by: { id: 'key:test' },
  })
  await expect.poll(() => bus.connected(), patience).toBe(false)
  // Memory still believes; who comes now is looked up.
  expect(identities.peek(device.fingerprint)).toMatchObject({ allowed: true })
  const entry = async ({ deviceId, fingerprint }: typeof device) => {
    const session = { fingerprint, socket: { destroyed: false } as Socket } as Session
    const index = { add: () => {} } as unknown as ConnectionIndex
    return await identify({ identities, connections: index }, session, deviceId)
  }
  await expect(entry(device)).rejects.toMatchObject({ reason: 'device-disabled' })
  expect(await entry(bystander)).toMatchObject({ deviceId: bystander.deviceId })

  link.heal()
  await expect.poll(() => bus.connected(), patience).toBe(true)
  await expect.poll(() => socket.destroyed, patience).toBe(true)
  await expect.poll(() => identities.mayHaveMissed?.(), patience).toBe(false)
  expect(other.destroyed).toBe(false)
  const ids = heard(bus)
  const elsewhere = own.use(await createPostgresBus(url, log))
  await elsewhere.publish('wake', [device.deviceId])
  await expect.poll(() => ids, patience).toEqual([device.deviceId])
})

test('what a process tells while its connection is cut is told when it is back', async () => {
  await using own = new AsyncDisposableStack()
  const link = own.use(await Link.open([{ host: '127.0.0.1', port: portOf(url) }]))
  const here = own.use(await createPostgresBus(through(link.port), log, quick))
  const there = own.use(await createPostgresBus(url, log, quick))
  const ids = heard(there)
  link.part()
  // Not known to be cut yet, and then known.
  await here.publish('wake', ['early'])
  await expect.poll(() => here.connected(), patience).toBe(false)
  await here.publish('wake', ['late', 'later'])
  expect(ids).toEqual([])
  link.heal()
  await expect.poll(() => new Set(ids), patience).toEqual(new Set(['early', 'late', 'later']))
})

test('a connection that answers statements and brings no notifications is not believed', async () => {
  await using own = new AsyncDisposableStack()
  const proxy = own.use(await DeafProxy.open(portOf(url)))
  const bus = own.use(await createPostgresBus(through(proxy.port), log, quick))
  let gaps = 0
  bus.onGap(() => gaps++)
  // Honest twin: answered pings break nothing.
  await expect.poll(() => proxy.notifications, patience).toBeGreaterThan(3)
  expect(bus.connected()).toBe(true)
  expect(gaps).toBe(0)
  proxy.isDeaf = true
  await expect.poll(() => proxy.connections, patience).toBeGreaterThan(1)
  proxy.isDeaf = false
  await expect.poll(() => gaps, patience).toBeGreaterThan(0)
  await expect.poll(() => bus.connected(), patience).toBe(true)
})

test('a process is not told of the pings of others', async () => {
  await using own = new AsyncDisposableStack()
  const proxies = [
    own.use(await DeafProxy.open(portOf(url))),
    own.use(await DeafProxy.open(portOf(url))),
  ] as const
  const often = { pauseMs: 20, answerMs: 10_000 }
  const rarely = { pauseMs: 3_600_000, answerMs: 10_000 }
  own.use(await createPostgresBus(through(proxies[0].port), log, often))
  own.use(await createPostgresBus(through(proxies[1].port), log, rarely))
  await expect.poll(() => proxies[0].notifications, patience).toBeGreaterThan(20)
  expect(proxies[1].notifications).toBe(0)
})

test('a thousand notifications of one transaction all arrive, in order', async () => {
  await using bus = await createPostgresBus(url, log, quick)
  const ids = heard(bus)
  const { client } = await listener()
  await client.query('begin')
  for (let n = 0; n < 1_000; n++)
    await client.query('select pg_notify($1, $2)', ['fleetseal_wake', `id-${n}`])
  expect(ids).toEqual([])
  await client.query('commit')
  await client.end()
  await expect.poll(() => ids.length, patience).toBe(1_000)
  expect(ids).toEqual(Array.from({ length: 1_000 }, (_, n) => `id-${n}`))
  expect(bus.connected()).toBe(true)
})

test('what is as long as PostgreSQL takes is sent whole, a byte more in two, and much in many: all of it arrives', async () => {
  await using here = await createPostgresBus(url, log, quick)
  await using there = await createPostgresBus(url, log, quick)
  const ids = heard(there)
  const { client, payloads } = await listener()
  const pair = (last: number) => [`a${'x'.repeat(3_998)}`, `b${'y'.repeat(last - 1)}`]
  await here.publish('wake', pair(3_999))
  await here.publish('wake', pair(4_000))
  await expect
    .poll(() => payloads.map(({ length }) => length), patience)
    .toEqual([7_999, 3_999, 4_000])
  // As long as the words of sessions are: more than a hundred of them are no payload.
  const many = Array.from({ length: 20_000 }, (_, n) => `${'0'.repeat(90)}-${n}`)
  await here.publish('wake', ['z'.repeat(8_000), ...many])
  const all = [...pair(3_999), ...pair(4_000), ...many]
  await expect.poll(() => ids.length, patience).toBe(all.length)
  expect(ids).toEqual(all)
  await client.end()
})

/** In front of PostgreSQL; when it is deaf, everything passes but notifications. */
class DeafProxy implements AsyncDisposable {
  isDeaf = false
  connections = 0
  notifications = 0
  readonly #sockets = new Set<Socket>()
  readonly #server

  private constructor(target: number) {
    this.#server = createServer((client) => {
      this.connections++
      const upstream = connect(target, '127.0.0.1')
      for (const socket of [client, upstream]) {
        this.#sockets.add(socket)
        socket.on('error', () => {})
        socket.once('close', () => {
          client.destroy()
          upstream.destroy()
        })
      }
      client.pipe(upstream)
      let rest: Buffer = Buffer.alloc(0)
      upstream.on('data', (chunk: Buffer) => {
        rest = this.#pass(Buffer.concat([rest, chunk]), client)
      })
    })
  }

  static async open(target: number): Promise<DeafProxy> {
    const proxy = new DeafProxy(target)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** Messages of the server: a letter, and a length that counts itself. Gives what is not whole yet. */
  #pass(bytes: Buffer, client: Socket): Buffer {
    let at = 0
    while (bytes.length >= at + 5 && bytes.length >= at + 1 + bytes.readUInt32BE(at + 1)) {
      const end = at + 1 + bytes.readUInt32BE(at + 1)
      const isNotification = bytes[at] === 'A'.charCodeAt(0)
      if (isNotification) this.notifications++
      if (!isNotification || !this.isDeaf) client.write(bytes.subarray(at, end))
      at = end
    }
    return bytes.subarray(at)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
