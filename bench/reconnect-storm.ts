import type { Bench, Env } from './bench.ts'
import { Load } from './load/driver.ts'
import { OperatorClient, quantile } from './operator-client.ts'
import { type OurServer, startOurServer } from './our-server.ts'
import { plain, type Row } from './row.ts'

const path = '/api/v1/devices?limit=20'
/** A load process connects so many at once at most. */
const ofOneLoad = 500
const connectRate = 500

/** Without a budget: how long a fleet takes depends on the machine first. */
export const benchReconnectStorm: Bench = {
  name: 'storm',
  title: 'A whole fleet comes back',
  budgets: [],
  run,
}

/**
 * All devices connect at once, the server is killed and started again, and all connect at once again (broker.md test 48). Beside the time
 * that takes stands what it would be at the rate at which the same server takes a few at a time.
 */
async function run(env: Env): Promise<Row[]> {
  const devices = env.pick(10_000, 2_000, 40)
  await using stack = new AsyncDisposableStack()
  const ours = stack.use(
    await startOurServer(env, {
      devices,
      environment: { FLEETSEAL_CONNECT_RATE: String(connectRate) },
    }),
  )
  const loads = await startLoads(stack, ours)
  const first = await storm(env, ours, loads)
  await ours.server.kill()
  await ours.server.restart()
  const again = await storm(env, ours, loads)
  const row = (what: string, { rate, seconds, connected, apiMs, refused }: Storm): Row => ({
    ...plain(what, `${seconds.toFixed(1)} s`),
    beside: `${(devices / Math.min(rate, connectRate)).toFixed(1)} s by ${rate.toFixed(0)} a second; ${devices - connected} lost, ${refused} tries failed; a list meanwhile p99 ${apiMs.toFixed(0)} ms`,
  })
  return [
    row(`${devices} devices connect at once, until all are in`, first),
    row('… after the server was killed', again),
  ]
}

interface Part {
  load: Load
  devices: number
}

async function startLoads(
  stack: AsyncDisposableStack,
  { credentials, ca }: OurServer,
): Promise<Part[]> {
  const parts: Part[] = []
  for (let at = 0; at < credentials.length; at += ofOneLoad) {
    const load = stack.use(new Load())
    const own = credentials.slice(at, at + ofOneLoad)
    await load.order('use', { credentials: own, ca })
    parts.push({ load, devices: own.length })
  }
  return parts
}

async function idleRate([part]: readonly Part[], { server }: OurServer): Promise<number> {
  if (!part) throw new Error('There is no load')
  const devices = Math.min(part.devices, 400)
  const began = performance.now()
  const port = server.ports.mqtt
  const { connected } = await part.load.order('churn', {
    port,
    devices,
    connects: devices,
    parallel: 8,
  })
  return (connected * 1_000) / (performance.now() - began)
}

interface Storm {
  /** Connects a second just before, eight at a time. */
  rate: number
  seconds: number
  connected: number
  /** Tries that were refused and made again. */
  refused: number
  /** p99. */
  apiMs: number
}

async function storm(env: Env, ours: OurServer, parts: readonly Part[]): Promise<Storm> {
  const { server } = ours
  const rate = await idleRate(parts, ours)
  env.say(`${rate.toFixed(0)} connects a second, eight at a time`)
  let isOver = false
  const began = performance.now()
  const all = Promise.all(
    parts.map(async (part) => await bringIn(part, server.ports.mqtt)),
  ).finally(() => (isOver = true))
  const waits: number[] = []
  using operator = await OperatorClient.of(server)
  while (!isOver) {
    const at = performance.now()
    await operator.ask(path)
    waits.push(performance.now() - at)
  }
  const failures = inSum(await all)
  const seconds = (performance.now() - began) / 1_000
  let connected = 0
  for (const { load } of parts) connected += (await load.order('state', {})).held
  const refused = Object.values(failures).reduce((sum, one) => sum + one, 0)
  env.say(
    `${connected} in after ${seconds.toFixed(1)} s; tries failed: ${JSON.stringify(failures)}`,
  )
  return { rate, seconds, connected, refused, apiMs: quantile(waits, 0.99) }
}

/** Until all devices of the load are in; whoever was refused comes again. Gives how often each kind of failure was met. */
async function bringIn({ load, devices }: Part, port: number): Promise<Record<string, number>> {
  await load.order('forget', {})
  const order = { port, devices, parallel: devices, retries: 20 }
  return (await load.order('hold', order)).refused
}

function inSum(all: readonly Record<string, number>[]): Record<string, number> {
  const sum: Record<string, number> = {}
  for (const [what, count] of all.flatMap((one) => Object.entries(one)))
    sum[what] = (sum[what] ?? 0) + count
  return sum
}
