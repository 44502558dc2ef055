import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { bucketSql, buildFits, mayTakePart, requirementsMet } from './meet-store.ts'

interface Previewed {
  reason: string | null
  phase: number | null
  n: number
}

/**
 * Every member of a group by why it could not be offered a release now (the first reason that applies, null when it could),
 * and by the phase it falls in when there is a seed. One statement that reads the whole group: for a person's question,
 * never for a worker.
 */
export async function previewGroup(
  db: Db,
  { groupId, releaseId, seed, percents }: PreviewQuestion,
): Promise<Previewed[]> {
  const bucket = seed ? bucketSql(sql`${seed}::bytea`) : sql`0::float8`
  const { rows } = await sql<Previewed>`
    with member_of as (
      select ${bucket} as bucket, case
        when not ${mayTakePart()} then 'device-blocked'
        when device.model is null then 'never-seen'
        when device.model <> release.model or not (device.hardware_ids && release.hardware_ids)
          then 'incompatible'
        when exists (select from deployment past where past.device_id = device.id
          and past.release_id = release.id and past.state = 'rolled_back') then 'rolled-back-before'
        when exists (select from jsonb_to_recordset(device.installed) runs(component text, build bigint)
          where runs.component = release.component and runs.build = release.build) then 'already-current'
        when exists (select from jsonb_to_recordset(device.installed) runs(component text, build bigint, svn bigint)
          where runs.component = release.component
            and (runs.build > release.build or runs.svn > release.svn)) then 'downgrade'
        when not ${buildFits()} then 'must-pass-through'
        when not ${requirementsMet()} then 'incompatible'
        end as reason
      from device_group_member member
      join device on device.id = member.device_id
      join release on release.id = ${releaseId}
      where member.group_id = ${groupId})
    select reason,
      (select min(no)::int from unnest(${[...percents]}::float8[]) with ordinality phase(percent, no)
        where bucket < phase.percent / 100) as phase,
      count(*)::int as n
    from member_of group by 1, 2`.execute(db)
  return rows
}

export interface PreviewQuestion {
  groupId: string
  releaseId: string
  /** Absent: everybody counts as bucket 0. */
  seed?: Buffer
  /** Cumulative, rising. */
  percents: readonly number[]
}
