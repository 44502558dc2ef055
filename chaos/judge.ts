import type pg from 'pg'

import type { DatabaseHandle } from '../server/db/client.ts'
import { brokenInvariants } from '../test/support/rollout-invariants.ts'
import type { AgentView } from './agents-process.ts'
import type { Acknowledged } from './agents.ts'

export interface TalkerFacts {
  deviceId: string
  acknowledged: readonly { no: number; atMs: number }[]
}

type Query = Pick<pg.Client, 'query'>

/** Every event that a device was told is stored is stored, and no event twice. */
export async function lostEvents(
  database: Query,
  talkers: readonly TalkerFacts[],
): Promise<string[]> {
  const broken: string[] = []
  for (const { deviceId, acknowledged } of talkers) {
    const { rows } = await database.query<{ no: number; n: number }>(
      `select (facts ->> 'detail')::int as no, count(*)::int as n from security_event
         where device_id = $1 and kind = 'chaos' group by 1`,
      [deviceId],
    )
    const stored = new Map(rows.map(({ no, n }) => [no, n]))
    for (const { no } of acknowledged)
      if (!stored.has(no))
        broken.push(`event ${no} of ${deviceId} was acknowledged and is not stored`)
    for (const [no, n] of stored)
      if (n > 1) broken.push(`event ${no} of ${deviceId} is stored ${n} times`)
  }
  return broken
}

/** Every report that a device was told is stored is in the history of its deployment. */
export async function lostReports(
  database: Query,
  acknowledged: readonly Acknowledged[],
): Promise<string[]> {
  const { rows } = await database.query<{ id: string; state: string }>(
    'select deployment_id as id, to_state as state from deployment_event',
  )
  const stored = new Set(rows.map(({ id, state }) => `${id} ${state}`))
  const { rows: moved } = await database.query<{ id: string }>('select id from deployment')
  const known = new Set(moved.map(({ id }) => id))
  return acknowledged.flatMap(({ deploymentId, state }) => {
    if (!known.has(deploymentId))
      return [`a report about ${deploymentId}, which there is not, was acknowledged`]
    // What comes late, or twice, changes nothing; what ends a deployment has to be there.
    if (!ending.has(state) || stored.has(`${deploymentId} ${state}`)) return []
    return [
      `the report that ${deploymentId} is ${state} was acknowledged and is not in its history`,
    ]
  })
}
const ending = new Set(['succeeded', 'rolled_back', 'failed_final'])

/** No serial number, name or certificate twice, and every device that enrolled has a certificate. */
export async function twiceIssued(database: Query, enrolled: readonly string[]): Promise<string[]> {
  const broken: string[] = []
  const twice = await database.query<{ serial: string; n: number }>(
    `select encode(serial, 'hex') as serial, count(*)::int as n from certificate
       group by authority_id, serial having count(*) > 1`,
  )
  for (const { serial, n } of twice.rows) broken.push(`serial ${serial} was issued ${n} times`)
  const names = await database.query<{ serial: string; n: number }>(
    'select serial_number as serial, count(*)::int as n from device group by serial_number having count(*) > 1',
  )
  for (const { serial, n } of names.rows) broken.push(`there are ${n} devices ${serial}`)
  const { rows } = await database.query<{ device_id: string }>(
    `select distinct device_id from certificate where kind = 'device' and state in ('issued', 'superseded', 'revoked') and device_id is not null`,
  )
  const have = new Set(rows.map((row) => row.device_id))
  for (const id of enrolled)
    if (!have.has(id)) broken.push(`${id} was enrolled and has no certificate`)
  return broken
}

/**
 * Where each device stands is where the server thinks it does: the new image where it succeeded, the old one where it was rolled back. And
 * who should have had to roll back did.
 */
export async function notConverged(
  handle: DatabaseHandle,
  given: {
    rolloutId: string
    agents: readonly AgentView[]
    version: string
    /** Devices that may have come when the rollout was over. */
    late: ReadonlySet<string>
  },
): Promise<string[]> {
  const { rolloutId, agents, version, late } = given
  const rows = await handle.db
    .selectFrom('deployment')
    .select(['device_id', 'state', 'code'])
    .where('rollout_id', '=', rolloutId)
    .execute()
  const states = new Map(rows.map((row) => [row.device_id, row]))
  const broken: string[] = []
  for (const agent of agents) {
    const row = states.get(agent.deviceId)
    const isMissed = !row && late.has(agent.deviceId) && agent.version === '1.0.0'
    if (isMissed && agent.waiting === 0 && agent.refusals.length === 0) continue
    const wanted = agent.isFailing ? 'rolled_back' : 'succeeded'
    if (row?.state !== wanted)
      broken.push(`${agent.deviceId} should be ${wanted} and is ${row?.state} (${row?.code ?? ''})`)
    const runs = wanted === 'succeeded' ? version : '1.0.0'
    if (agent.version !== runs)
      broken.push(`${agent.deviceId} runs ${agent.version} and not ${runs}`)
    if (agent.waiting > 0)
      broken.push(`${agent.deviceId} still waits with ${agent.waiting} messages`)
    for (const refusal of agent.refusals) broken.push(`${agent.deviceId} refused: ${refusal}`)
  }
  const world = { db: handle.db } as Parameters<typeof brokenInvariants>[0]
  return [...broken, ...(await brokenInvariants(world))]
}

/** Nobody whose right had ended was acknowledged anything after the time in which every process has to know. */
export function heardAfterEnd(given: {
  talker: TalkerFacts
  /** When the server said that it is done. */
  endedMs: number
  /** When the right was given back, if it was. */
  againMs: number | undefined
  /** When the last fault was over that could keep a process from knowing. */
  calmMs: number
  graceMs: number
}): string[] {
  const { talker, endedMs, againMs = Infinity, calmMs, graceMs } = given
  const fromMs = Math.max(endedMs, Math.min(calmMs, againMs)) + graceMs
  return talker.acknowledged
    .filter(({ atMs }) => atMs > fromMs && atMs < againMs)
    .map(
      ({ no, atMs }) =>
        `event ${no} of ${talker.deviceId} was acknowledged ${((atMs - endedMs) / 1_000).toFixed(1)} s after its right had ended`,
    )
}

/** `Node.js v…` is the last line of a process that ended with an exception. */
const badWord =
  /"level":[6-9]\d|a promise was rejected|uncaughtException|unhandledRejection|UnhandledPromiseRejection|MaxListenersExceededWarning|FATAL ERROR|heap out of memory|^Node\.js v\d/

/** Words of a program that did not bear what happened. */
export function badWords(output: string): string[] {
  return output
    .split('\n')
    .filter((line) => badWord.test(line))
    .map((line) => `a server said: ${line.slice(0, 300)}`)
}
