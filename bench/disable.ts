import { setTimeout as sleep } from 'node:timers/promises'

import { Link } from '../chaos/link.ts'
import { startBeside } from '../test/support/beside.ts'
import { operatorOf } from '../test/support/operator.ts'
import type { RunningServer } from '../test/support/server.ts'
import type { Bench, Env } from './bench.ts'
import { cpuMs } from './cpu.ts'
import { Load } from './load/driver.ts'
import type { Closed } from './load/orders.ts'
import { OperatorClient, quantile } from './operator-client.ts'
import { type OurServer, startOurServer } from './our-server.ts'
import { figure, type Row } from './row.ts'

const sweepMs = 2_000
const parallel = 32
const patienceMs = 60_000

export const benchDisable: Bench = {
  name: 'disable',
  title: 'Cutting devices off',
  budgets: [
    'disable-p99',
    'disable-p99-elsewhere',
    'disable-fleet',
    'disable-cpu',
    'disable-missed',
  ],
  run,
}

/**
 * From the operator's request to the close of the socket, as the device sees it (broker.md G9): the commit is in it. One by one, at the server
 * that was asked and at another one on the same database; a whole group; and at a server whose notifications are lost without a word.
 */
async function run(env: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const singles = env.pick(300, 60, 5)
  const fleet = env.pick(5_000, 1_000, 20)
  const ours = stack.use(await startOurServer(env, { devices: 2 * singles + fleet + 20 }))
  const { server, database, credentials, ca } = ours
  const url = new URL(database.url)
  const link = stack.use(await Link.open([{ host: '127.0.0.1', port: Number(url.port) }]))
  url.port = String(link.port)
  const other = stack.use(await startBeside(server, url.href))
  const load = stack.use(new Load())
  await load.order('use', { credentials, ca })
  const hold = async (where: RunningServer, first: number, devices: number) => {
    await load.order('hold', { port: where.ports.mqtt, first, devices, parallel })
    await load.order('forget', {})
  }

  env.say(`${singles} devices, one by one`)
  await hold(server, 0, singles)
  const here = await oneByOne(ours, load, 0, singles)
  env.say(`${singles} devices at another server`)
  await hold(other, singles, singles)
  const elsewhere = await oneByOne(ours, load, singles, singles)
  env.say('devices at a server that hears nothing')
  await hold(other, 2 * singles, 10)
  link.partThose('fleetseal-bus')
  const missed = await oneByOne(ours, load, 2 * singles, 10)
  link.heal()
  env.say(`a group of ${fleet}`)
  await hold(server, 2 * singles + 20, fleet)
  const group = await wholeGroup(ours, load, fleet)
  return [
    figure('one device, request to closed socket, p99', {
      values: [quantile(here, 0.99)],
      unit: 'ms',
      digits: 1,
      budget: 'disable-p99',
    }),
    figure('… p50', { values: [quantile(here, 0.5)], unit: 'ms', digits: 1 }),
    figure('… at another server, p99', {
      values: [quantile(elsewhere, 0.99)],
      unit: 'ms',
      digits: 1,
      budget: 'disable-p99-elsewhere',
    }),
    figure('… p50', { values: [quantile(elsewhere, 0.5)], unit: 'ms', digits: 1 }),
    figure('… at one whose notifications are lost, the longest', {
      values: [Math.max(...missed) / sweepMs],
      unit: 'sweeps',
      budget: 'disable-missed',
    }),
    figure(`a group of ${fleet.toLocaleString('en')}, the last one`, {
      values: [group.lastMs],
      unit: 'ms',
      digits: 0,
      budget: 'disable-fleet',
    }),
    figure('… server CPU each', {
      values: [group.cpuMicroseconds],
      unit: 'µs',
      digits: 0,
      budget: 'disable-cpu',
    }),
  ]
}

/** Milliseconds of each. */
async function oneByOne(
  { server, credentials }: OurServer,
  load: Load,
  first: number,
  count: number,
): Promise<number[]> {
  using operator = await OperatorClient.of(server)
  await operator.ask('/api/v1/devices?limit=1')
  const asked = new Map<number, number>()
  for (let number = first; number < first + count; number++) {
    asked.set(number, performance.timeOrigin + performance.now())
    const path = `/api/v1/devices/${credentials[number]?.deviceId}/actions`
    const status = await operator.ask(path, { action: 'disable', reason: 'bench' })
    if (status !== 200) throw new Error(`A device was not disabled: ${status}`)
    await sleep(5)
  }
  const closed: Closed = await load.order('closes', { connections: count, timeoutMs: patienceMs })
  if (closed.closed < count) throw new Error(`${count - closed.closed} devices stayed`)
  return [...asked].map(([number, at]) => (closed.at[number] ?? Number.NaN) - at)
}

async function wholeGroup({ server }: OurServer, load: Load, count: number) {
  const { fleetseal } = operatorOf(server)
  const before = cpuMs(server.pid())
  const at = performance.timeOrigin + performance.now()
  const [closed] = await Promise.all([
    load.order('closes', { connections: count, timeoutMs: patienceMs }),
    fleetseal('group', 'disable', 'lab', '--reason', 'bench'),
  ])
  if (closed.closed < count) throw new Error(`${count - closed.closed} devices stayed`)
  await sleep(200)
  const cpuMicroseconds = ((cpuMs(server.pid()) - before) * 1_000) / count
  return { lastMs: closed.lastAt - at, cpuMicroseconds }
}
