import type { RunningServer } from '../test/support/server.ts'
import type { Bench, Env } from './bench.ts'
import { Load } from './load/driver.ts'
import { OperatorClient, quantile } from './operator-client.ts'
import { startOurServer } from './our-server.ts'
import { beside, type Row } from './row.ts'

const path = '/api/v1/devices?limit=20'
const brokers = 2

export const benchApiStorm: Bench = {
  name: 'api-storm',
  title: 'Operators while devices connect',
  budgets: ['api-storm'],
  run,
}

/**
 * What an operator waits for a list of devices, one request after the other, while 500 devices connect at the same moment, beside the same
 * without (broker.md G11): with broker processes, which is how a fleet of that size is run, and in one process.
 */
async function run(env: Env): Promise<Row[]> {
  const devices = env.pick(500, 200, 20)
  const apart = await storm(env, devices, { FLEETSEAL_BROKERS: String(brokers) })
  const together = await storm(env, devices, {})
  const row = (what: string, { busy, idle }: Waits, budget?: 'api-storm') =>
    beside(what, {
      ours: busy,
      peer: idle,
      name: 'idle',
      unit: 'ms',
      digits: 1,
      ...(budget && { budget }),
    })
  return [
    row(
      `a list while ${devices} devices connect, p99, ${brokers} broker processes`,
      apart,
      'api-storm',
    ),
    row('… in one process', together),
  ]
}

interface Waits {
  /** p99 of each round, in milliseconds. */
  busy: number[]
  idle: number[]
}

async function storm(
  env: Env,
  devices: number,
  environment: Record<string, string>,
): Promise<Waits> {
  await using stack = new AsyncDisposableStack()
  const { server, credentials, ca } = stack.use(await startOurServer(env, { devices, environment }))
  const load = stack.use(new Load())
  await load.order('use', { credentials, ca })
  const waits: Waits = { busy: [], idle: [] }
  // The first round warms up.
  for (let round = 0; round <= env.rounds; round++) {
    let isOver = false
    const order = { port: server.ports.mqtt, devices, parallel: devices }
    const connecting = load.order('hold', order).finally(() => (isOver = true))
    const busy = await lists(server, () => !isOver)
    await connecting
    await load.order('release', {})
    const idle = await lists(server, (done) => done < Math.max(busy.length, 200))
    env.say(`round ${round}: ${busy.length} lists meanwhile`)
    if (round === 0) continue
    waits.busy.push(quantile(busy, 0.99))
    waits.idle.push(quantile(idle, 0.99))
  }
  return waits
}

async function lists(server: RunningServer, goesOn: (done: number) => boolean): Promise<number[]> {
  using operator = await OperatorClient.of(server)
  await operator.ask(path)
  const waits: number[] = []
  while (goesOn(waits.length)) {
    const at = performance.now()
    await operator.ask(path)
    waits.push(performance.now() - at)
  }
  return waits
}
