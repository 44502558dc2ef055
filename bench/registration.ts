import { randomUUID } from 'node:crypto'

import pg from 'pg'

import { operatorOf } from '../test/support/operator.ts'
import type { Bench, Env } from './bench.ts'
import { childrenCpuMs, cpuMs } from './cpu.ts'
import { OperatorClient } from './operator-client.ts'
import { startOurServer } from './our-server.ts'
import { beside, type Row } from './row.ts'

const parallel = 10

export const benchRegistration: Bench = {
  name: 'registration',
  title: 'Registering devices',
  budgets: ['bulk-registration'],
  run,
}

/**
 * A production batch as CSV, checked row by row, beside one INSERT for each device into a table with the same columns and indexes
 * (broker.md G12). CPU of whoever inserts and of PostgreSQL together.
 */
async function run(env: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const count = env.pick(20_000, 10_000, 200)
  const singles = count / 10
  const { server, database } = stack.use(await startOurServer(env, { devices: 1 }))
  const { fleetseal } = operatorOf(server)
  const options = ['--group', 'lab', '--quota', `${count * (env.rounds + 2)}`]
  const profile = await fleetseal<{ id: string }>('enrollment', 'create', 'batch', ...options)
  const operator = stack.use(await OperatorClient.of(server))
  const pool = new pg.Pool({ connectionString: database.url, max: parallel })
  stack.defer(async () => await pool.end())
  await pool.query('create table floor_device (like device including all)')
  const ours: number[] = []
  const floor: number[] = []
  for (let round = 0; round <= env.rounds; round++) {
    env.say(`round ${round}`)
    const names = Array.from({ length: count }, (_, n) => `BULK-${round}-${n}`)
    const file = ['serialNumber,name', ...names.map((name) => `${name},${name}`)].join('\n')
    const path = `/api/v1/enrollment-profiles/${profile.id}/registrations`
    const cpu = () => cpuMs(server.pid()) + childrenCpuMs(database.pid)
    const before = cpu()
    const status = await operator.ask(path, `${file}\n`)
    if (status !== 200) throw new Error(`the batch was answered with ${status}`)
    const each = (cpu() - before) / count
    const single = (await inserted(pool, names.slice(0, singles), database.pid)) / singles
    // The first one warms up.
    if (round === 0) continue
    ours.push(each * 1_000)
    floor.push(single * 1_000)
  }
  const { rows } = await pool.query<{ n: number }>(
    `select count(*)::int as n from device where serial_number like 'BULK-%'`,
  )
  const wanted = count * (env.rounds + 1)
  if (rows[0]?.n !== wanted) throw new Error(`${rows[0]?.n} of ${wanted} devices were registered`)
  return [
    beside('a device of a batch, server and database', {
      ours,
      peer: floor,
      name: 'one INSERT each',
      unit: 'µs',
      digits: 1,
      budget: 'bulk-registration',
    }),
  ]
}

/** Milliseconds of CPU for all of them. */
async function inserted(pool: pg.Pool, names: readonly string[], databasePid: number) {
  const left = [...names]
  const before = cpuMs(process.pid) + childrenCpuMs(databasePid)
  const work = async () => {
    for (let name = left.pop(); name !== undefined; name = left.pop()) {
      await pool.query({
        name: 'register',
        text: `insert into floor_device (id, serial_number, name, state, created_at, changed_at)
          values ($1, $2, $2, 'registered', now(), now())`,
        values: [randomUUID(), name],
      })
    }
  }
  await Promise.all(Array.from({ length: parallel }, work))
  return cpuMs(process.pid) + childrenCpuMs(databasePid) - before
}
