import { sql } from 'kysely'

import { connectPostgres, type Db } from '../server/db/client.ts'
import { migrateToLatest } from '../server/db/migrate.ts'
import { parseDeviceQuery } from '../server/device-query/parse.ts'
import { matchingSql } from '../server/device-query/sql.ts'
import { meetDevices } from '../server/rollouts/meet.ts'
import { progressOf } from '../server/rollouts/progress.ts'
import {
  act,
  givenGroup,
  givenRelease,
  givenRollout,
  rolloutWorld,
  type RolloutWorld,
} from '../test/support/rollout-world.ts'
import type { Bench, Env } from './bench.ts'
import { cpuMs, median } from './cpu.ts'
import { figure, plain, type Row } from './row.ts'

const sizes = [10_000, 100_000, 1_000_000]
const rounds = 5
/** As the broker groups what arrives together. */
const group = 500
const alone = 400

/**
 * Rollouts over fleets of three sizes in a real PostgreSQL: what grows with the fleet shows itself. A contact is what
 * `hello` and a poll ask of the rollout engine; transport and signatures are measured elsewhere (`polls`, `delivery`).
 */
export const benchRollouts: Bench = {
  name: 'rollouts',
  title: 'Rollouts',
  budgets: ['rollout-start', 'rollout-statements'],
  run,
}

async function run({ say, quick, pick, database }: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const { url } = await database()
  const handle = stack.use(connectPostgres(url))
  await migrateToLatest(handle)
  const rows: Row[] = []
  const statements: number[] = []
  for (const size of pick(sizes, [1_000, 100_000], [100, 1_000])) {
    say(`${size} devices …`)
    const fleet = await ofFleet(rolloutWorld(handle), size, say, quick)
    rows.push(...fleet.rows)
    statements.push(fleet.statements)
  }
  // How many there are says little; that they do not grow with the fleet is the promise.
  const more = (statements.at(-1) ?? Number.NaN) - (statements[0] ?? Number.NaN)
  const what = 'create and start: more statements for the largest fleet than for the smallest'
  const values = { values: [more], unit: 'more', digits: 0, budget: 'rollout-statements' } as const
  return [...rows, figure(what, values)]
}

async function ofFleet(
  world: RolloutWorld,
  size: number,
  say: (line: string) => void,
  quick: boolean,
): Promise<{ rows: Row[]; statements: number }> {
  const model = `bench-${size}`
  const groupId = await givenGroup(world)
  await givenFleet(world.db, { model, groupId, size })
  const rows: Row[] = [plain(`${size.toLocaleString('en')} devices:`, '')]

  say('created and started …')
  const starts = await times(rounds, () => startOne(world, { model, groupId, percent: 0.001 }))
  const statements = await world.counter.during(
    async () => await startOne(world, { model, groupId, percent: 0.001 }),
  )
  await cancelAll(world)
  const what = `create and start for ${size.toLocaleString('en')} devices`
  rows.push(figure(what, { values: starts, unit: 'ms', budget: 'rollout-start' }))
  rows.push(plain('  create and start, statements', `${statements}`))
  if (quick) return { rows, statements }

  say('contacts …')
  const few = await startOne(world, { model, groupId, percent: 0.001 })
  const ids = await someDevices(world.db, groupId, alone + group * 12)
  // As autovacuum does within a minute; what earlier fleets left would else be guessed at.
  await sql`analyze`.execute(world.db)
  rows.push(...(await contacts(world, ids, 'with nothing to do', 1)))
  await act(world, few, 'cancel')
  const all = await startOne(world, { model, groupId, percent: 100 })
  rows.push(...(await contacts(world, ids, 'that is offered work', 0)))

  say('progress and queries …')
  const reads = await times(50, async () => await progressOf(world.db, { id: all }))
  rows.push(atMost('  progress read', median(reads), 20, 'ms'))
  const query = parseDeviceQuery('attributes.region in ("eu","uk") and installed.main < "2.4.0"')
  const page = sql`select id from device where model = ${model} and ${matchingSql(query, world.clock.now(), 'fleet')}
    order by id limit 51`
  rows.push(
    atMost(
      '  first page of a query',
      median(await times(rounds, () => page.execute(world.db))),
      500,
      'ms',
    ),
  )
  await cancelAll(world)
  return { rows, statements }
}

/** Every second one matches the query; all run build 1. */
async function givenFleet(
  db: Db,
  { model, groupId, size }: { model: string; groupId: string; size: number },
): Promise<void> {
  const installed = JSON.stringify([
    { component: 'main', version: '2.3.0', build: 1, svn: 1, sha256: '00'.repeat(32) },
  ])
  await sql`insert into device (id, name, serial_number, state, model, hardware_ids, installed, attributes, created_at, changed_at)
    select gen_random_uuid(), ${model} || '-' || n, ${model} || '-' || n, 'active', ${model}, array['rev-a'], ${installed}::jsonb,
      jsonb_build_object('region', (array['eu', 'us', 'uk', 'ap'])[1 + n % 4]), now() - interval '30 days', now() - interval '30 days'
    from generate_series(1, ${size}) n`.execute(db)
  await sql`insert into device_group_member (group_id, device_id)
    select ${groupId}, id from device where model = ${model}`.execute(db)
  await sql`analyze device, device_group_member`.execute(db)
}

/** In no order that the database would like. */
async function someDevices(db: Db, groupId: string, count: number): Promise<string[]> {
  const { rows } = await sql<{ device_id: string }>`select device_id from device_group_member
    where group_id = ${groupId} order by md5(device_id::text) limit ${count}`.execute(db)
  return rows.map((row) => row.device_id)
}

let build = 100

async function startOne(
  world: RolloutWorld,
  { model, groupId, percent }: { model: string; groupId: string; percent: number },
): Promise<string> {
  const { id } = await givenRelease(world, { model, build: ++build, version: `9.9.${build}` })
  const rollout = await givenRollout(world, groupId, id, [{ percent }])
  await act(world, rollout, 'start')
  return rollout
}

async function cancelAll(world: RolloutWorld): Promise<void> {
  const running = await world.db
    .selectFrom('rollout')
    .select('id')
    .where('state', '=', 'running')
    .execute()
  for (const { id } of running) await act(world, id, 'cancel')
}

/** One at a time for the latency, then in groups as the broker makes them for the rate. */
async function contacts(
  world: RolloutWorld,
  ids: readonly string[],
  what: string,
  budget: number,
): Promise<Row[]> {
  const one = ids.slice(0, alone)
  const statements: number[] = []
  const singles: number[] = []
  for (const id of one) {
    const began = performance.now()
    statements.push(await world.counter.during(async () => await meetDevices(world.ctx, [id])))
    singles.push(performance.now() - began)
  }
  const cpu = cpuMs(process.pid)
  const began = performance.now()
  for (let at = alone; at < ids.length; at += group) {
    await meetDevices(world.ctx, ids.slice(at, at + group))
  }
  const count = ids.length - alone
  const perCpuSecond = (count * 1_000) / (cpuMs(process.pid) - cpu)
  const perSecond = (count * 1_000) / (performance.now() - began)
  const highest = Math.max(...statements)
  return [
    budget > 0
      ? atMost(`  contact ${what}, statements`, highest, budget, '')
      : plain(`  contact ${what}, statements`, `${highest}`),
    plain('    alone, p50 and p99', `${ms(singles, 0.5)} and ${ms(singles, 0.99)} ms`),
    atLeast(
      `    in groups of ${group}, a second by the clock`,
      perSecond,
      budget > 0 ? 10_000 : 1_000,
    ),
    plain('    and a CPU second of the server process', `${Math.round(perCpuSecond)}`),
  ]
}

async function times(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const spent: number[] = []
  for (let n = 0; n < count; n++) {
    const began = performance.now()
    await work()
    spent.push(performance.now() - began)
  }
  return spent
}

function ms(values: readonly number[], share: number): string {
  const sorted = values.toSorted((a, b) => a - b)
  return (sorted[Math.floor((sorted.length - 1) * share)] ?? Number.NaN).toFixed(1)
}

function atMost(what: string, value: number, limit: number, unit: string): Row {
  const figure = `${unit === '' ? value : value.toFixed(1)} ${unit}`.trim()
  return { what, figure, target: `≤ ${limit}`, met: value <= limit }
}

function atLeast(what: string, value: number, limit: number): Row {
  return { what, figure: `${Math.round(value)}`, target: `≥ ${limit}`, met: value >= limit }
}
