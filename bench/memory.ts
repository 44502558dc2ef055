import { setTimeout as sleep } from 'node:timers/promises'

import type { Bench, Env } from './bench.ts'
import type { BudgetKey } from './budgets.ts'
import { cpuMs, residentBytes } from './cpu.ts'
import { Load } from './load/driver.ts'
import type { Credential, Hold } from './load/orders.ts'
import { startOurServer } from './our-server.ts'
import { createPeerPki, startBareTls, startMosquitto } from './peer-servers.ts'
import { beside, figure, missing, type Row } from './row.ts'

const script = new URL('collect-on-signal.ts', import.meta.url).href
const parallel = 16
const warming = 60

/** A CONNECT that never ends: of 4,090 bytes announced, 4,000 come. Ours cuts it off after ten seconds. */
const partial = Buffer.concat([Buffer.from([0x10, 0xfa, 0x1f]), Buffer.alloc(4_000)])

export const benchMemory: Bench = {
  name: 'memory',
  title: 'Memory of connections',
  budgets: ['memory-idle', 'memory-idle-mosquitto', 'memory-unauthenticated'],
  run,
}

type Name = 'fleetseal' | 'node:tls' | 'mosquitto'

/** What a fresh process of each kind is, and whose connections it gets. */
interface Target {
  credentials: readonly Credential[]
  ca: string
  collects: boolean
  start: () => Promise<{ pid: number; port: number } & AsyncDisposable>
}

/**
 * Memory of connections (broker.md G4 and G10): growth of the resident memory of a fresh and warmed process, after a collection of
 * garbage, divided by the connections. What is given back is not given to the system, so each figure takes a process of its own.
 */
async function run(env: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const idle = env.pick(2_500, 500, 70)
  const unauthenticated = env.pick(500, 300, 30)
  const targets = await targetsOf(env, stack, Math.max(idle, warming))
  const held = new Map<Name, number[]>()
  const waiting = new Map<Name, number[]>()
  for (let round = 1; round <= Math.min(env.rounds, env.pick(3, 1, 1)); round++) {
    for (const [name, target] of targets) {
      env.say(`${idle} connections to ${name}, round ${round}`)
      const kilobytes = await growth(target, { devices: idle })
      held.set(name, [...(held.get(name) ?? []), kilobytes])
      if (name === 'mosquitto') continue
      const order = { devices: unauthenticated, until: 'tls', bytes: partial.toString('base64') }
      env.say(`${unauthenticated} half CONNECTs to ${name}, round ${round}`)
      waiting.set(name, [...(waiting.get(name) ?? []), await growth(target, order as Part)])
    }
  }
  return rowsOf({ held, waiting, idle, unauthenticated })
}

async function targetsOf(
  env: Env,
  stack: AsyncDisposableStack,
  devices: number,
): Promise<Map<Name, Target>> {
  const ours = stack.use(
    await startOurServer(env, { devices, environment: { NODE_OPTIONS: `--import=${script}` } }),
  )
  const { server, credentials, ca } = ours
  await server.stop()
  const pki = stack.use(await createPeerPki(devices))
  const targets = new Map<Name, Target>([
    [
      'fleetseal',
      {
        credentials,
        ca,
        collects: true,
        start: async () => {
          await server.restart()
          const end = async () => void (await server.stop())
          return { pid: server.pid(), port: server.ports.mqtt, [Symbol.asyncDispose]: end }
        },
      },
    ],
    ['node:tls', { ...pki, collects: true, start: () => startBareTls(pki, `--import=${script}`) }],
  ])
  const program = env.peer('mosquitto')
  const start = () => startMosquitto(program ?? '', pki)
  if (program !== undefined) targets.set('mosquitto', { ...pki, collects: false, start })
  return targets
}

type Part = Omit<Hold, 'port' | 'parallel'>

/** Kilobytes (1,024 bytes) each connection takes. Throws when some of them are gone before it was read. */
async function growth({ credentials, ca, collects, start }: Target, order: Part): Promise<number> {
  await using server = await start()
  await using load = new Load()
  await load.order('use', { credentials, ca })
  const { port, pid } = server
  await load.order('hold', { port, parallel, devices: warming })
  await load.order('release', {})
  const before = await settled(pid, collects)
  const { connected, refused } = await load.order('hold', { port, parallel, ...order })
  const after = await settled(pid, collects)
  const { held } = await load.order('state', {})
  if (connected < order.devices || held < order.devices) {
    const facts = JSON.stringify(refused)
    throw new Error(`${connected} of ${order.devices} connected, ${held} stayed: ${facts}`)
  }
  await load.order('release', {})
  return (after - before) / 1_024 / order.devices
}

/** Resident bytes once the process has nothing more to do. */
async function settled(pid: number, collects: boolean): Promise<number> {
  for (let turn = 0; turn < 2; turn++) {
    if (collects) process.kill(pid, 'SIGUSR2')
    await sleep(200)
    for (let before = -1, now = cpuMs(pid), n = 0; now - before > 10 && n < 10; n++) {
      before = now
      await sleep(100)
      now = cpuMs(pid)
    }
  }
  return residentBytes(pid)
}

function rowsOf({
  held,
  waiting,
  idle,
  unauthenticated,
}: {
  held: ReadonlyMap<Name, number[]>
  waiting: ReadonlyMap<Name, number[]>
  idle: number
  unauthenticated: number
}): Row[] {
  const what = `memory of one of ${idle} idle mTLS connections`
  const ours = held.get('fleetseal') ?? []
  const against = (name: Name, budget: BudgetKey) => {
    const peer = held.get(name)
    return peer === undefined
      ? missing(what, budget, `no ${name}`)
      : beside(what, { ours, peer, name, budget, unit: 'KB', digits: 1 })
  }
  const floor = waiting.get('node:tls') ?? []
  const more = (waiting.get('fleetseal') ?? []).map((value, n) => value - (floor[n] ?? 0))
  return [
    against('node:tls', 'memory-idle'),
    against('mosquitto', 'memory-idle-mosquitto'),
    figure(`one of ${unauthenticated} half CONNECTs, above node:tls`, {
      values: more,
      unit: 'KB',
      digits: 1,
      budget: 'memory-unauthenticated',
    }),
  ]
}
