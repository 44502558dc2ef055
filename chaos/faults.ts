import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import pg from 'pg'

import { familyOf } from '../bench/cpu.ts'
import type { RunningServer } from '../test/support/server.ts'
import type { Fault } from './plan.ts'
import { flood, type TalkerIdentity } from './talker.ts'
import type { World } from './world.ts'

const startMs = 90_000

/** Whoever is to flood, and where; others are not asked. */
export interface Flooder {
  identity: TalkerIdentity
  ca: string
}

/** Brings a fault about, waits, and takes it back: when this resolves, things can be right again. */
export async function strike(world: World, fault: Fault, flooder: Flooder): Promise<void> {
  const { kind, forMs, target, amount } = fault
  const { postgres, servers, mqtt, https, parts } = world
  const one = servers[target]
  switch (kind) {
    case 'kill-server':
      await one.server.kill()
      await sleep(forMs)
      return await restart(one.server)
    case 'kill-broker':
      return killBroker(one.server, amount)
    case 'stop-server':
      await one.server.stop()
      await sleep(forMs)
      return await restart(one.server)
    case 'kill-database':
    case 'restart-database':
      await postgres.halt(kind === 'kill-database' ? 'SIGKILL' : 'SIGINT')
      await sleep(Math.min(forMs, 3_000))
      return await postgres.start()
    case 'stall-database':
      return await during(forMs, postgres.stall())
    case 'cut-bus':
      return await cutConnections(postgres.url, `application_name = 'fleetseal-bus'`)
    case 'cut-database-connections':
      return await cutConnections(postgres.url, 'pid <> pg_backend_pid()')
    case 'part-database':
      one.database.part()
      return await during(forMs, () => one.database.heal())
    case 'part-devices':
      mqtt.part()
      https.part()
      return await during(forMs, () => {
        mqtt.heal()
        https.heal()
      })
    case 'cut-devices':
      mqtt.cut()
      return https.cut()
    case 'lose-packets':
    case 'part-network':
      one.host?.lose(kind === 'part-network' ? 100 : amount)
      return await during(forMs, () => one.host?.lose(0))
    case 'fill-disk':
      await one.disk?.fillTo(0)
      await sleep(forMs)
      return await one.disk?.empty()
    case 'jump-clock':
      if (one.clockFile === undefined) return
      await writeFile(one.clockFile, `${amount > 0 ? '+' : ''}${amount}h\n`)
      await sleep(forMs)
      return await writeFile(one.clockFile, '+0\n')
    case 'flood':
      return await flood(flooder.identity, mqtt.port, flooder.ca, Math.min(forMs, 3_000))
    case 'kill-agents':
      await parts[target]?.kill()
      await sleep(forMs)
      return parts[target]?.start()
    default:
      throw new Error('not a fault')
  }
}

/** What a fault takes hold of: two of the same wait for each other. */
export function resourceOf({ kind, target }: Fault): string {
  if (kind.endsWith('-server') || kind === 'kill-broker') return `server ${target}`
  if (['kill-database', 'restart-database', 'stall-database'].includes(kind)) return 'database'
  if (kind.endsWith('-devices')) return 'devices'
  if (kind === 'lose-packets' || kind === 'part-network') return `host ${target}`
  return `${kind} ${target}`
}

/** Its server starts the next one by itself. */
function killBroker(server: RunningServer, n: number): void {
  const brokers = familyOf(server.pid()).filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('--supervised')
    } catch {
      return false
    }
  })
  const pid = brokers[n]
  if (pid !== undefined) process.kill(pid, 'SIGKILL')
}

/** As a service manager does: again and again, for the database may be away, or the clock wrong. */
async function restart(server: RunningServer): Promise<void> {
  const end = performance.now() + startMs
  for (;;) {
    try {
      return await server.restart()
    } catch (error) {
      if (performance.now() > end) throw error
      await sleep(1_000)
    }
  }
}

async function during(ms: number, end: () => void): Promise<void> {
  try {
    await sleep(ms)
  } finally {
    end()
  }
}

/** The database may be away by another fault: then there is nothing to cut. */
async function cutConnections(url: string, which: string): Promise<void> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 2_000,
    query_timeout: 2_000,
  })
  client.on('error', () => {})
  try {
    await client.connect()
    await client.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() and ${which}`,
    )
  } catch {
    // Away.
  } finally {
    await client.end().catch(() => {})
  }
}
