import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { inspect } from 'node:util'

import pg from 'pg'

import { publishRelease, startRollout } from '../test/support/operator.ts'
import { RawDevice } from '../test/support/raw-device.ts'
import type { AgentView } from './agents-process.ts'
import { type Crew, startCrew } from './crew.ts'
import { resourceOf, strike } from './faults.ts'
import {
  badWords,
  heardAfterEnd,
  lostEvents,
  lostReports,
  notConverged,
  twiceIssued,
} from './judge.ts'
import { brokenWhenLeaving, holdings } from './leave.ts'
import { Operators } from './operator.ts'
import type { Plan } from './plan.ts'
import { openWorld, seenFromHere, type World } from './world.ts'

export interface Played {
  seed: number
  broken: string[]
  skipped: readonly string[]
  seconds: number
  /** What happened, for whoever wonders whether anything did. */
  facts: string
}

const version = '1.0.1'
const convergeMs = 240_000
const graceMs = 5_000
const agentCount = 10
/** Those of the first two parts: the others enroll while things go wrong, maybe when the rollout has completed. */
const earlyCount = 8

/** One seed: a world, its faults, calm, and the judgement. */
export async function play(
  plan: Plan,
  options: { keep?: string | undefined } = {},
): Promise<Played> {
  const beganMs = performance.now()
  try {
    return await playIn(plan, options)
  } catch (error) {
    const broken = [`the world could not be made, or not be taken down: ${inWords(error)}`]
    const seconds = (performance.now() - beganMs) / 1_000
    return { seed: plan.seed, broken, skipped: [], seconds, facts: '' }
  }
}

/** With what it covers: the error of a disposal hides the one before it. */
function inWords(error: unknown): string {
  if (!(error instanceof SuppressedError)) return inspect(error)
  return `${inWords(error.error)}, after ${inWords(error.suppressed)}`
}

async function playIn(plan: Plan, options: { keep?: string | undefined }): Promise<Played> {
  const beganMs = performance.now()
  await using stack = new AsyncDisposableStack()
  const world = stack.use(await openWorld(plan))
  const broken: string[] = []
  let facts = ''
  try {
    facts = await story(world, plan, stack, broken)
  } catch (error) {
    broken.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  for (const { server } of world.servers) broken.push(...badWords(server.output()))
  if (broken.length > 0 && options.keep !== undefined) await keep(world, plan, broken, options.keep)
  return {
    seed: plan.seed,
    broken,
    skipped: world.skipped,
    seconds: (performance.now() - beganMs) / 1_000,
    facts,
  }
}

async function story(
  world: World,
  plan: Plan,
  stack: AsyncDisposableStack,
  broken: string[],
): Promise<string> {
  const { site, parts } = world
  const before = holdings(world)
  for (const part of parts.slice(0, 2)) part.start()
  await until('the devices are up', () => parts.slice(0, 2).every(({ isUp }) => isUp))
  const crew = stack.use(await startCrew(world))
  const seen = [
    await seenFromHere(world.servers[0], stack),
    await seenFromHere(world.servers[1], stack),
  ]
  const operators = new Operators(seen)
  operators.start()
  const image = randomBytes(300_000)
  const release = await publishRelease(site, { version, build: 101, image, metadataVersion: 1 })
  const rolloutId = await startRollout(site, release)
  parts[2]?.start()

  const calmMs = await unleash(world, plan, crew, operators)
  const database = new pg.Client(world.postgres.url)
  await database.connect()
  stack.defer(async () => await database.end())
  const views = () => parts.flatMap((part) => part.views)
  const ended = async () => await hasEnded({ database, site, rolloutId }, views())
  await until('the rollout ends', ended, convergeMs).catch((error: Error) =>
    broken.push(error.message),
  )
  await operators.stop()
  for (const talker of crew.talkers) await talker.stop()

  const agents = views()
  const late = new Set(parts[2]?.views.map(({ deviceId }) => deviceId))
  const acknowledged = parts.flatMap((part) => part.acknowledged)
  const talkers = crew.talkers.map(({ identity: { deviceId }, acknowledged: told }) => ({
    deviceId,
    acknowledged: told,
  }))
  broken.push(
    ...(await notConverged(world.handle, { rolloutId, agents, version, late })),
    ...(await lostEvents(database, talkers)),
    ...(await lostReports(database, acknowledged)),
    ...(await twiceIssued(
      database,
      [...agents, ...talkers].map(({ deviceId }) => deviceId),
    )),
    ...(await whoGotIn(crew, operators, seen, calmMs)),
    ...[...operators.wrong].map(([what, n]) => `operators got ${what} (${n})`),
  )
  await site.operator
    .fleetseal('audit', 'verify')
    .catch((error: Error) => broken.push(error.message))
  for (const [number, { server }] of world.servers.entries())
    if (!existsSync(`/proc/${server.pid()}`)) broken.push(`server ${number} ended by itself`)
  await crew[Symbol.asyncDispose]()
  const leaving = await brokenWhenLeaving(world, database, before, plan.brokers + 1)
  broken.push(...leaving.broken)
  const told = talkers.reduce((sum, one) => sum + one.acknowledged.length, 0)
  return `${told} events and ${acknowledged.length} reports acknowledged, ${operators.answered} lists answered, ${leaving.residentMb} MB, nothing left after ${leaving.seconds.toFixed(0)} s`
}

/** Every deployment, and each device has told all it has to tell. */
async function hasEnded(
  { database, site, rolloutId }: { database: pg.Client; site: World['site']; rolloutId: string },
  views: readonly AgentView[],
): Promise<boolean> {
  const { rows } = await database.query<{ ended: number; open: number }>(
    `select count(*) filter (where state in ('succeeded', 'rolled_back'))::int as ended,
       count(*) filter (where state not in ('succeeded', 'rolled_back'))::int as open
       from deployment where rollout_id = $1`,
    [rolloutId],
  )
  const [{ ended, open } = { ended: 0, open: 0 }] = rows
  const settled = views.filter(({ waiting, connected }) => waiting === 0 && connected)
  if (ended < earlyCount || open > 0 || settled.length < agentCount) return false
  // Who came late has a place in it as long as it runs.
  const { state } = await site.operator.fleetseal<{ state: string }>('rollout', 'show', rolloutId)
  return ended === agentCount || state === 'completed'
}

/** All that is planned, each at its moment. Resolves with the moment at which nothing is wrong any more. */
async function unleash(
  world: World,
  plan: Plan,
  crew: Crew,
  operators: Operators,
): Promise<number> {
  const beganMs = performance.now()
  const busy = new Map<string, Promise<void>>()
  const at = async (ms: number) => await sleep(Math.max(0, beganMs + ms - performance.now()))
  const faults = plan.faults.map(async (fault) => {
    await at(fault.atMs)
    const resource = resourceOf(fault)
    const mine = (busy.get(resource) ?? Promise.resolve()).then(
      async () => await strike(world, fault, crew.flooder),
    )
    busy.set(resource, mine)
    await mine
  })
  const deeds = plan.deeds.map(async (deed, number) => {
    await at(deed.atMs)
    const deviceId = crew.talkers[deed.device]?.identity.deviceId ?? ''
    // To one device one thing after the other.
    const key = `deed ${deed.device}`
    const mine = (busy.get(key) ?? Promise.resolve()).then(
      async () => await operators.act(deed, deviceId),
    )
    busy.set(key, mine)
    await mine
    return number
  })
  await Promise.all(faults)
  const calmMs = performance.now()
  await Promise.all(deeds)
  return calmMs
}

/** Who lost the right to be in is not in, at neither server; and was told nothing after the time in which each has to know. */
async function whoGotIn(
  crew: Crew,
  operators: Operators,
  servers: readonly { ports: { mqtt: number }; ca: string }[],
  calmMs: number,
): Promise<string[]> {
  const broken: string[] = []
  for (const [number, talker] of crew.talkers.entries()) {
    const { deviceId, ...credentials } = talker.identity
    const done = operators.done.filter((one) => one.device === number)
    if (done.length === 0) continue
    for (const { action, doneMs } of done)
      if (doneMs === undefined) broken.push(`${action} of ${deviceId} was never done`)
    const last = done.at(-1)?.action
    for (const [n, { ports, ca }] of servers.entries()) {
      const device = await RawDevice.open(ports.mqtt, await readFile(ca, 'utf8'), credentials)
      const code = await device.connect({ clientId: deviceId })
      await device.close()
      if (last === 'enable' && code !== 0)
        broken.push(`${deviceId} is enabled, and server ${n} answers ${code}`)
      if (last !== 'enable' && code === 0)
        broken.push(`${deviceId} had its ${last}, and server ${n} lets it in`)
    }
    const [end, again] = done
    if (end?.doneMs === undefined) continue
    const facts = { deviceId, acknowledged: talker.acknowledged }
    // From the moment on at which it was asked for, it may be given back.
    const againMs = again && again.doneMs !== undefined ? again.doneMs - 90_000 : undefined
    if (againMs === undefined)
      broken.push(
        ...heardAfterEnd({ talker: facts, endedMs: end.doneMs, againMs, calmMs, graceMs }),
      )
  }
  return broken
}

async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = 120_000,
): Promise<void> {
  const end = performance.now() + withinMs
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`it did not come to this: ${what}`)
    await sleep(200)
  }
}

/** All that helps to understand it. */
async function keep(
  world: World,
  plan: Plan,
  broken: readonly string[],
  folder: string,
): Promise<void> {
  const own = join(folder, `seed-${plan.seed}`)
  await mkdir(own, { recursive: true })
  for (const [n, { server }] of world.servers.entries())
    await writeFile(join(own, `server-${n}.log`), server.output())
  for (const n of [0, 1, 2])
    await cp(join(world.folder, `agents-${n}.log`), join(own, `agents-${n}.log`)).catch(() => {})
  await writeFile(join(own, 'plan.json'), JSON.stringify(plan, undefined, 1))
  await writeFile(join(own, 'broken.txt'), broken.join('\n'))
  const deployments = await world.handle.db
    .selectFrom('deployment')
    .selectAll()
    .execute()
    .catch(String)
  const history = await world.handle.db
    .selectFrom('deployment_event')
    .selectAll()
    .execute()
    .catch(String)
  await writeFile(
    join(own, 'deployments.json'),
    JSON.stringify({ deployments, history }, undefined, 1),
  )
}
