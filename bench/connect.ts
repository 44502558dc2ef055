import type { Bench, Env } from './bench.ts'
import type { BudgetKey } from './budgets.ts'
import { cpuOf } from './cpu.ts'
import { cryptoFloor } from './crypto-floor.ts'
import { Load } from './load/driver.ts'
import type { Churn, Credential } from './load/orders.ts'
import { type OurServer, revokeMany, startOurServer } from './our-server.ts'
import {
  createPeerPki,
  type PeerPki,
  startBareTls,
  startMosquitto,
  writeCrl,
} from './peer-servers.ts'
import { beside, figure, missing, plain, type Row } from './row.ts'

const parallel = 8
const devices = 24

export const benchConnect: Bench = {
  name: 'connect',
  title: 'Connecting',
  budgets: [
    'connect-mosquitto',
    'connect-tls',
    'connect-revoked',
    'connect-revoked-mosquitto',
    'connect-resumed-mosquitto',
    'connect-statements',
  ],
  run,
}

type Name =
  | 'fleetseal'
  | 'fleetseal, revoked'
  | 'node:tls'
  | 'mosquitto'
  | 'mosquitto, CRL'
  | 'mosquitto, P-256 root'

interface Target {
  pid: number
  port: number
  load: Load
}
type Targets = ReadonlyMap<Name, Target>

/**
 * Connect cost (broker.md G1 to G3): our whole server, on PostgreSQL, beside bare node:tls and mosquitto. CPU time of each server's
 * process; handshakes are TLS 1.3 with X25519, and every chain is a leaf and an issuer of P-256 below a root of P-384. Ours and the floor
 * trust the issuer itself and do not verify the root's signature; mosquitto knows no such setting, so it is also shown with a root of P-256.
 */
async function run(env: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const revoked = env.pick(100_000, 100_000, 100)
  const ours = stack.use(await startOurServer(env, { devices }))
  const other = stack.use(await startOurServer(env, { devices }))
  await revokeMany(other, revoked)
  env.say(`${revoked} revoked`)
  const pki = stack.use(await createPeerPki(devices))
  const peers = await startPeers(env, stack, pki, revoked)
  const targets: Targets = new Map<Name, Target>([
    ['fleetseal', await targetOf(stack, { pid: ours.server.pid(), port: portOf(ours) }, ours)],
    [
      'fleetseal, revoked',
      await targetOf(stack, { pid: other.server.pid(), port: portOf(other) }, other),
    ],
    ...peers,
  ])
  await warm(env, targets)
  const full = await costs(env, targets, {})
  const resumed = await resumedCosts(env, targets)
  return [
    ...fullRows(full, revoked),
    resumed,
    ...(await hybridRow(env, targets)),
    figure('the curves of a full connect alone', {
      values: cryptoFloor(pki, env.rounds),
      unit: 'ms',
      digits: 3,
    }),
    await statementsRow(env, ours, targets),
  ]
}

function portOf({ server }: OurServer): number {
  return server.ports.mqtt
}

async function targetOf(
  stack: AsyncDisposableStack,
  where: { pid: number; port: number },
  { credentials, ca }: { credentials: readonly Credential[]; ca: string },
): Promise<Target> {
  const load = stack.use(new Load())
  await load.order('use', { credentials, ca })
  return { ...where, load }
}

async function startPeers(
  env: Env,
  stack: AsyncDisposableStack,
  pki: PeerPki,
  revoked: number,
): Promise<[Name, Target][]> {
  const bare = stack.use(await startBareTls(pki))
  const found: [Name, Target][] = [['node:tls', await targetOf(stack, bare, pki)]]
  const program = env.peer('mosquitto')
  if (program === undefined) return found
  const plainOne = stack.use(await startMosquitto(program, pki))
  await writeCrl(pki, revoked)
  const listed = stack.use(await startMosquitto(program, pki, `crlfile ${pki.folder}/crl.pem`))
  found.push(['mosquitto', await targetOf(stack, plainOne, pki)])
  found.push(['mosquitto, CRL', await targetOf(stack, listed, pki)])
  if (env.quick) return found
  const small = stack.use(await createPeerPki(devices, { rootKey: 'P-256' }))
  const cheap = stack.use(await startMosquitto(program, small))
  found.push(['mosquitto, P-256 root', await targetOf(stack, cheap, small)])
  return found
}

/** The first hundreds are compiled while they run; a server has long done that. */
async function warm(env: Env, targets: Targets): Promise<void> {
  for (const [name, target] of targets) {
    env.say(`warming ${name}`)
    await churn(target, env.pick(1_000, 400, 8), {})
  }
}

/** CPU milliseconds a connect, for each target and round. */
type Costs = ReadonlyMap<Name, number[]>

async function costs(env: Env, targets: Targets, how: Partial<Churn>): Promise<Costs> {
  const count = env.pick(250, 80, 16)
  const found = new Map([...targets.keys()].map((name) => [name, [] as number[]]))
  const rounds = env.pick(env.rounds * 2, env.rounds * 2, 1)
  for (let round = 1; round <= rounds; round++) {
    env.say(`${how.resume ? 'resumed connects' : 'connects'}, round ${round} of ${rounds}`)
    // There and back: who comes first is not always the same.
    const order = [...targets]
    for (const [name, target] of round % 2 === 0 ? order.reverse() : order) {
      // A list makes each connect so dear that fewer of them say as much.
      const some = name === 'mosquitto, CRL' ? Math.ceil(count / 4) : count
      const cpu = await cpuOf(target.pid, async () => await churn(target, some, how))
      found.get(name)?.push(cpu / some)
    }
  }
  return found
}

/** Throws unless all were let in, and in the way that was asked for. */
async function churn({ load, port }: Target, count: number, how: Partial<Churn>): Promise<void> {
  const order = { port, devices, connects: count, parallel, ...how }
  const { connected, resumed, refused } = await load.order('churn', order)
  if (connected < count) {
    throw new Error(`${connected} of ${count} connected: ${JSON.stringify(refused)}`)
  }
  if (how.resume && resumed < count) throw new NotResumed(`${resumed} of ${count} were resumed`)
}

class NotResumed extends Error {}

function fullRows(full: Costs, revoked: number): Row[] {
  const what = 'full connect, server CPU'
  const list = `full connect, ${revoked.toLocaleString('en')} revoked, server CPU`
  const cheap = full.get('mosquitto, P-256 root')
  return [
    rowOf(full, what, ['fleetseal', 'mosquitto'], 'connect-mosquitto'),
    ...(cheap === undefined ? [] : [rowOf(full, what, ['fleetseal', 'mosquitto, P-256 root'])]),
    rowOf(full, what, ['fleetseal', 'node:tls'], 'connect-tls'),
    rowOf(full, list, ['fleetseal, revoked', 'fleetseal'], 'connect-revoked'),
    rowOf(full, list, ['fleetseal, revoked', 'mosquitto, CRL'], 'connect-revoked-mosquitto'),
  ]
}

function rowOf(
  found: Costs,
  what: string,
  [our, their]: readonly [Name, Name],
  budget?: BudgetKey,
): Row {
  const peer = found.get(their)
  if (peer === undefined) return absent(what, budget)
  const name = their === 'fleetseal' ? 'with none' : their
  const values = { ours: found.get(our) ?? [], peer, name, unit: 'ms', digits: 3 }
  return beside(what, budget === undefined ? values : { ...values, budget })
}

function absent(what: string, budget: BudgetKey | undefined): Row {
  return budget === undefined ? plain(what, '') : missing(what, budget, 'no mosquitto')
}

/** Counts only when each of the connects was resumed: the status of the device is checked all the same. */
async function resumedCosts(env: Env, targets: Targets): Promise<Row> {
  const what = 'resumed connect, server CPU'
  const budget = 'connect-resumed-mosquitto'
  const some: Targets = new Map(
    [...targets].filter(([name]) => name === 'fleetseal' || name === 'mosquitto'),
  )
  // Each device gets a ticket.
  for (const target of some.values()) {
    await target.load.order('churn', {
      port: target.port,
      devices,
      connects: devices * 2,
      parallel,
      resume: true,
    })
  }
  try {
    return rowOf(await costs(env, some, { resume: true }), what, ['fleetseal', 'mosquitto'], budget)
  } catch (error) {
    if (!(error instanceof NotResumed)) throw error
    return missing(what, budget, error.message)
  }
}

/** What our devices do by themselves: the peers' OpenSSL knows no post-quantum group. */
async function hybridRow(env: Env, targets: Targets): Promise<Row[]> {
  const some: Targets = new Map([...targets].filter(([name]) => name === 'fleetseal'))
  const found = await costs(env, some, { group: 'X25519MLKEM768' })
  const values = { values: found.get('fleetseal') ?? [], unit: 'ms', digits: 3 }
  return [figure('full connect, X25519MLKEM768, server CPU', values)]
}

/** A database that stands still: whoever needs a statement before CONNACK does not get in. */
async function statementsRow(
  { say }: Env,
  { database }: OurServer,
  targets: Targets,
): Promise<Row> {
  const what = 'known devices let in while the database stands still'
  const ours = targets.get('fleetseal')
  if (!ours) return plain(what, '')
  say('connects without a database')
  const goOn = database.stall()
  try {
    const { connected } = await ours.load.order('churn', {
      port: ours.port,
      devices,
      connects: devices,
      parallel,
    })
    const values = { values: [connected === devices ? 0 : 1], unit: '', digits: 0 }
    const row = figure(what, { ...values, budget: 'connect-statements' })
    return { ...row, figure: `${connected} of ${devices}` }
  } finally {
    goOn()
  }
}
