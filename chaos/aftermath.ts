import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type pg from 'pg'

import { openStates } from '../server/protocol/deployment.ts'
import type { Site } from '../test/support/operator.ts'
import { type Holding, kinds, type Kind } from './processes.ts'

/* What is judged when everything is calm: who is shown as there, what is left open, and what ended over somebody. */

type Query = Pick<pg.Client, 'query'>

/** Who is there is shown so, by a process that lives; and nobody else is. */
export async function wrongPresence(
  database: Query,
  connected: readonly string[],
): Promise<string[]> {
  const { rows } = await database.query<{ id: string; is_shown: boolean; lives: boolean }>(
    `select device.id, coalesce(presence.connected, false) as is_shown, node.id is not null as lives
       from device left join device_presence presence on presence.device_id = device.id
       left join broker_node node on node.id = presence.node_id`,
  )
  const here = new Set(connected)
  const broken: string[] = []
  for (const { id, is_shown: isShown, lives } of rows) {
    if (here.delete(id)) {
      if (!isShown) broken.push(`${id} is connected and shown as offline`)
      else if (!lives) broken.push(`${id} is shown as connected with a process that is dead`)
    } else if (isShown) broken.push(`${id} has no connection and is shown as connected`)
  }
  for (const id of here) broken.push(`${id} is connected, and there is no such device`)
  return broken
}

/** No rollout ended over a device that was in it and not done, whose owner did not want to wait. */
export async function endedOverSomebody(database: Query): Promise<string[]> {
  const mayBeOpen = new Set(['opted_out', 'postponed'])
  const open = openStates.filter((state) => !mayBeOpen.has(state))
  const { rows } = await database.query<{ id: string; device: string; was: string; at: string }>(
    `select rollout.id, deployment.device_id as device, deployment.state as was, rollout.state as at
       from deployment join rollout on rollout.id = deployment.rollout_id
       where rollout.state = 'completed' and deployment.state = any($1)`,
    [open],
  )
  return rows.map(
    ({ id, device, was, at }) => `rollout ${id} is ${at}, and ${device} is still ${was}`,
  )
}

/**
 * More than this above what was open before the devices came is a leak: a leak of one for each connection would be more, as tens of
 * connections are made and broken. Below it are what is opened once and kept, a worker, a log, what an operator just asked.
 */
const tolerated: Record<Kind, number> = {
  device: 0,
  // The pool grows to its bound.
  database: Infinity,
  socket: 12,
  pipe: 8,
  file: 12,
  other: 12,
}
/** Of the pool of one process, its notifications, and what is being replaced. */
const mostDatabase = 40
/** Three times what a process needs when it begins. */
export const mostResidentMb = 640

/** What a server holds when the devices are gone is what it held before they came. */
export function leftOpen(
  name: string,
  before: Holding,
  after: Holding,
  processes: number,
): string[] {
  const broken: string[] = []
  for (const kind of kinds)
    if (after[kind] > before[kind] + tolerated[kind] * processes)
      broken.push(`${name} held ${before[kind]} ${kind} descriptors, and holds ${after[kind]}`)
  if (after.database > mostDatabase * processes)
    broken.push(`${name} holds ${after.database} connections to the database`)
  if (after.residentMb > mostResidentMb)
    broken.push(`a process of ${name} takes ${after.residentMb} MB`)
  return broken
}

/** The whole log, taken out and verified without the server, by its key. */
export async function brokenExport(site: Site): Promise<string[]> {
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-chaos-audit-'))
  const { fleetseal } = site.operator
  try {
    const file = join(folder, 'audit.ndjson')
    const [{ key = '' } = {}] = await fleetseal<{ key?: string }[]>('audit', 'keys')
    await fleetseal('audit', 'export', '--out', file)
    await fleetseal('audit', 'verify', file, '--key', key)
    return []
  } catch (error) {
    return [`the exported audit log: ${error instanceof Error ? error.message : String(error)}`]
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}
