import pg from 'pg'

import type { Bench, Env } from './bench.ts'
import { cpuMs, familyOf } from './cpu.ts'
import { Load } from './load/driver.ts'
import type { Credential } from './load/orders.ts'
import { startOurServer } from './our-server.ts'
import { createPeerPki, startMosquitto } from './peer-servers.ts'
import { beside, missing, type Row } from './row.ts'

const parallel = 16
const idsEach = 100
const message = '{"command":"refresh"}'

export const benchTell: Bench = {
  name: 'tell',
  title: 'Telling connected devices',
  budgets: ['tell-mosquitto', 'tell-last', 'command-mosquitto'],
  run,
}

/**
 * The word that makes devices ask anew, to all that are connected, each on its own topic, beside mosquitto, which sends one message to all on one
 * (broker.md G6); and a command of QoS 1 to one device after another, with its PUBACK (G7). Ours come over the database's notifications, as
 * they do from any other process; a hundred at a time, for each answer costs the server two signatures.
 */
async function run(env: Env): Promise<Row[]> {
  const program = env.peer('mosquitto')
  if (program === undefined)
    return benchTell.budgets.map((key) => missing(key, key, 'mosquitto is not installed'))
  await using stack = new AsyncDisposableStack()
  const devices = env.pick(5_000, 1_000, 20)
  // A broker process has none of the background work that is not its own.
  const environment = { FLEETSEAL_BROKERS: '1' }
  const ours = stack.use(await startOurServer(env, { devices, environment }))
  const [, broker = 0] = familyOf(ours.server.pid())
  const pki = stack.use(await createPeerPki(devices + 1))
  const peer = stack.use(await startMosquitto(program, pki))
  const client = new pg.Client({ connectionString: ours.database.url })
  await client.connect()
  stack.defer(async () => await client.end())
  const publisher = stack.use(new Load())
  await publisher.order('use', { credentials: pki.credentials, ca: pki.ca })
  await publisher.order('hold', { port: peer.port, first: devices, devices: 1, parallel: 1 })
  const listeners = async (
    port: number,
    given: { credentials: readonly Credential[]; ca: string },
    qos: 0 | 1,
  ) => {
    const load = stack.use(new Load())
    await load.order('use', { credentials: given.credentials, ca: given.ca })
    const filter = given === pki ? (qos === 0 ? 'all' : 'one/{id}') : 'fleetseal/v1/{id}/command'
    await load.order('hold', { port, devices, parallel, subscribe: [{ filter, qos }] })
    return load
  }
  const ids = ours.credentials.map(({ deviceId }) => deviceId)
  const wake = async (some: readonly string[]) => {
    for (let at = 0; at < some.length; at += idsEach)
      await client.query(`select pg_notify('fleetseal_wake', $1)`, [
        some.slice(at, at + idsEach).join(','),
      ])
  }
  const tellPeer = async (topic: string) =>
    void (await publisher.order('publish', { topic, bodies: [message], messages: 1, window: 1 }))

  const all = {
    ours: await listeners(ours.server.ports.mqtt, ours, 0),
    peer: await listeners(peer.port, pki, 0),
  }
  const told = { ours: [] as Told[], peer: [] as Told[] }
  for (let round = 0; round <= env.rounds; round++) {
    env.say(`round ${round}`)
    const one = await measured(broker, all.ours, devices, async () => await wake(ids))
    const other = await measured(peer.pid, all.peer, devices, async () => await tellPeer('all'))
    if (round === 0) continue
    told.ours.push(one)
    told.peer.push(other)
  }
  await all.ours.order('release', {})
  await all.peer.order('release', {})
  const commands = await single(env, {
    ours: await listeners(ours.server.ports.mqtt, ours, 1),
    peer: await listeners(peer.port, pki, 1),
    pids: { ours: broker, peer: peer.pid },
    wake,
    ids,
    publisher,
    peerIds: pki.credentials.map(({ deviceId }) => deviceId),
  })
  return rowsOf(devices, told, commands)
}

interface Values {
  ours: number[]
  peer: number[]
}

function rowsOf(devices: number, told: { ours: Told[]; peer: Told[] }, commands: Values): Row[] {
  const name = 'mosquitto'
  const values = (of: (one: Told) => number) => ({
    ours: told.ours.map(of),
    peer: told.peer.map(of),
    name,
  })
  return [
    beside(`${devices.toLocaleString('en')} devices told, server CPU each`, {
      ...values(({ cpuMicroseconds }) => cpuMicroseconds),
      unit: 'µs',
      digits: 1,
      budget: 'tell-mosquitto',
    }),
    beside('… until the last has it', {
      ...values(({ lastMs }) => lastMs),
      unit: 'ms',
      digits: 0,
      budget: 'tell-last',
    }),
    beside('a command of QoS 1 to one device, server CPU', {
      ...commands,
      name,
      unit: 'µs',
      digits: 0,
      budget: 'command-mosquitto',
    }),
  ]
}

interface Told {
  cpuMicroseconds: number
  lastMs: number
}

async function measured(
  pid: number,
  load: Load,
  count: number,
  tell: () => Promise<void>,
): Promise<Told> {
  await load.order('forget', {})
  const before = cpuMs(pid)
  const at = performance.timeOrigin + performance.now()
  await tell()
  const { lastAt, received } = await load.order('arrive', { messages: count, timeoutMs: 60_000 })
  if (received < count) throw new Error(`${count - received} devices were not told`)
  return { cpuMicroseconds: ((cpuMs(pid) - before) * 1_000) / count, lastMs: lastAt - at }
}

interface Single {
  ours: Load
  peer: Load
  pids: { ours: number; peer: number }
  wake: (ids: readonly string[]) => Promise<void>
  ids: readonly string[]
  publisher: Load
  peerIds: readonly string[]
}

/** One notification for each device, and one message each. */
async function single(env: Env, given: Single): Promise<{ ours: number[]; peer: number[] }> {
  const count = env.pick(1_000, 300, 5)
  const costs = { ours: [] as number[], peer: [] as number[] }
  for (let round = 0; round <= env.rounds; round++) {
    const ours = await measured(given.pids.ours, given.ours, count, async () => {
      for (const id of given.ids.slice(0, count)) await given.wake([id])
    })
    const peer = await measured(given.pids.peer, given.peer, count, async () => {
      for (const id of given.peerIds.slice(0, count))
        await given.publisher.order('publish', {
          topic: `one/${id}`,
          bodies: [message],
          messages: 1,
          window: 1,
        })
    })
    if (round === 0) continue
    costs.ours.push(ours.cpuMicroseconds)
    costs.peer.push(peer.cpuMicroseconds)
  }
  return costs
}
