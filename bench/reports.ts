import type { Bench, Env } from './bench.ts'
import { childrenCpuMs, cpuMs } from './cpu.ts'
import { Load } from './load/driver.ts'
import { startOurServer } from './our-server.ts'
import { createPeerPki, startMosquitto, startScript } from './peer-servers.ts'
import { beside, figure, type Row } from './row.ts'

const parallel = 16
/** Events of a device beyond sixty an hour are not stored: all rounds together stay below. */
const perRound = 5
const mostRounds = 7
const perSecond = 5_000
const topic = 'fleetseal/v1/{id}/event'
const bodies = ['{"kind":"bench","detail":"{uuid} {n}","at":"2026-11-26T12:00:00.000Z"}']

export const benchReports: Bench = {
  name: 'reports',
  title: 'Stored messages',
  budgets: ['report-insert', 'report-mosquitto', 'report-p99'],
  run,
}

interface Target {
  name: string
  load: Load
  /** Server and database together. */
  cpu: () => number
  costs: number[]
}

/**
 * A message that is acknowledged after the commit (broker.md G5): an event of a device, which is looked at for repetitions and for how many
 * there are, stored, and put out for webhooks, beside one bare INSERT for each, and mosquitto, which stores nothing. CPU of the server and of
 * PostgreSQL together; each device has one unacknowledged message. Then 5,000 a second, whether or not the earlier ones were answered.
 */
async function run(env: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const devices = env.pick(2_000, 800, 20)
  const ours = stack.use(await startOurServer(env, { devices }))
  const pki = stack.use(await createPeerPki(devices))
  const database = await env.database()
  const floor = stack.use(await startScript('insert-server.ts', [pki.folder, database.url]))
  const targets = [
    await target(
      stack,
      { name: 'fleetseal', ...ours, port: ours.server.ports.mqtt },
      () => cpuMs(ours.server.pid()) + childrenCpuMs(database.pid),
    ),
    await target(
      stack,
      { name: 'one INSERT each', ...pki, port: floor.port },
      () => cpuMs(floor.pid) + childrenCpuMs(database.pid),
    ),
  ]
  const program = env.peer('mosquitto')
  if (program !== undefined) {
    const peer = stack.use(await startMosquitto(program, pki))
    targets.push(
      await target(stack, { name: 'mosquitto', ...pki, port: peer.port }, () => cpuMs(peer.pid)),
    )
  }
  await measure(env, targets, devices)
  const [us, inserts, mosquitto] = targets.map(({ costs }) => costs)
  env.say(`${perSecond} a second`)
  const paced = await targets[0]?.load.order('publish', {
    topic,
    bodies,
    messages: env.pick(10, 10, 2),
    window: 1,
    perSecond,
  })
  if (paced && paced.failed > 0) throw new Error(`${paced.failed} messages were not acknowledged`)
  const micro = { unit: 'µs', digits: 0 }
  return [
    beside('a stored event, server and database', {
      ours: us ?? [],
      peer: inserts ?? [],
      name: 'one INSERT each',
      budget: 'report-insert',
      ...micro,
    }),
    ...(mosquitto
      ? [
          beside('…', {
            ours: us ?? [],
            peer: mosquitto,
            name: 'mosquitto, stored nowhere',
            budget: 'report-mosquitto',
            ...micro,
          }),
        ]
      : []),
    figure(`acknowledged at ${perSecond.toLocaleString('en')} a second, p99`, {
      values: [paced?.latencies.p99 ?? Number.NaN],
      unit: 'ms',
      digits: 1,
      budget: 'report-p99',
    }),
  ]
}

async function measure(
  env: Env,
  targets: readonly (Target & { port: number })[],
  devices: number,
): Promise<void> {
  for (const one of targets) {
    const { port } = one
    await one.load.order('hold', { port, devices, parallel })
  }
  for (let round = 0; round <= Math.min(env.rounds, mostRounds); round++) {
    env.say(`round ${round}`)
    for (const { load, cpu, costs } of targets) {
      const before = cpu()
      const { acknowledged, failed } = await load.order('publish', {
        topic,
        bodies,
        messages: perRound,
        window: 1,
      })
      if (failed > 0) throw new Error(`${failed} messages were not acknowledged`)
      // The first one warms up.
      if (round > 0) costs.push(((cpu() - before) * 1_000) / acknowledged)
    }
  }
}

async function target(
  stack: AsyncDisposableStack,
  {
    name,
    credentials,
    ca,
    port,
  }: { name: string; credentials: Parameters<typeof use>[1]; ca: string; port: number },
  cpu: () => number,
): Promise<Target & { port: number }> {
  const load = stack.use(new Load())
  await use(load, credentials, ca)
  return { name, load, cpu, costs: [], port }
}

async function use(
  load: Load,
  credentials: readonly { deviceId: string; key: string; cert: string }[],
  ca: string,
): Promise<void> {
  await load.order('use', { credentials, ca })
}
