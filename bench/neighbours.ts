import type { Bench, Env } from './bench.ts'
import { Load } from './load/driver.ts'
import type { Publish } from './load/orders.ts'
import { startOurServer } from './our-server.ts'
import { beside, type Row } from './row.ts'

const parallel = 16
const perSecond = 500
const event = (detail: string) =>
  `{"kind":"bench","detail":"${detail}","at":"2026-11-26T12:00:00.000Z"}`
const topic = 'fleetseal/v1/{id}/event'

export const benchNeighbours: Bench = {
  name: 'neighbours',
  title: 'One bad device among others',
  budgets: ['frozen-neighbour', 'flooding-neighbour'],
  run,
}

/**
 * What other devices wait for the acknowledgement of a message, at 500 messages a second, while one device reads nothing of what it is sent, and
 * while one sends as much as it can, beside the same without them (broker.md G10).
 */
async function run(env: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const devices = env.pick(200, 100, 10)
  const messages = env.pick(10, 5, 1)
  const { server, credentials, ca } = stack.use(await startOurServer(env, { devices: devices + 2 }))
  const { mqtt: port } = server.ports
  const load = stack.use(new Load())
  await load.order('use', { credentials, ca })
  await load.order('hold', { port, devices, parallel })
  const bad = stack.use(new Load())
  await bad.order('use', { credentials, ca })

  const order: Publish = { topic, bodies: [event('{n}')], messages, window: 1, perSecond }
  const p99 = async () => {
    const { failed, latencies } = await load.order('publish', order)
    if (failed > 0) throw new Error(`${failed} messages were not acknowledged`)
    return latencies.p99
  }
  const alone: number[] = []
  const frozen: number[] = []
  const flooded: number[] = []
  for (let round = 0; round <= env.rounds; round++) {
    env.say(`round ${round}`)
    const usual = await p99()
    const besideFrozen = await withFrozen(bad, port, devices, p99)
    const besideFlood = await withFlood(bad, port, devices + 1, p99)
    if (round === 0) continue
    alone.push(usual)
    frozen.push(besideFrozen)
    flooded.push(besideFlood)
  }
  const row = (what: string, ours: number[], budget: 'frozen-neighbour' | 'flooding-neighbour') =>
    beside(what, { ours, peer: alone, name: 'without it', unit: 'ms', digits: 1, budget })
  return [
    row('acknowledgement beside a frozen device, p99', frozen, 'frozen-neighbour'),
    row('… beside one that floods', flooded, 'flooding-neighbour'),
  ]
}

async function withFrozen(
  bad: Load,
  port: number,
  first: number,
  measure: () => Promise<number>,
): Promise<number> {
  const subscribe = [{ filter: 'fleetseal/v1/{id}/command', qos: 1 as const }]
  await bad.order('hold', { port, first, devices: 1, parallel: 1, subscribe })
  await bad.order('freeze', { connections: 1 })
  // Answers to what it sends are what it does not read.
  const flood = bad.order('publish', {
    topic,
    bodies: [event('{n}')],
    messages: 40,
    window: 40,
    timeoutMs: 3_000,
  })
  try {
    return await measure()
  } finally {
    await flood
    await bad.order('release', {})
  }
}

async function withFlood(
  bad: Load,
  port: number,
  first: number,
  measure: () => Promise<number>,
): Promise<number> {
  await bad.order('hold', { port, first, devices: 1, parallel: 1 })
  const flood = bad.order('publish', {
    topic,
    bodies: [event(`{n} ${'x'.repeat(400)}`)],
    messages: 20_000,
    window: 1_000,
    timeoutMs: 4_000,
  })
  try {
    return await measure()
  } finally {
    await flood
    await bad.order('release', {})
  }
}
