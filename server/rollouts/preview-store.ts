import { type RawBuilder, type SqlBool, sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { bucketSql, needsStep, unfitness } from '../db/release-fit.ts'

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
  { groupId, releaseId, companions, matching, seed, percents }: PreviewQuestion,
): Promise<Previewed[]> {
  const along = sql`(select unnest(${[...companions]}::uuid[]))`
  const bucket = seed ? bucketSql(sql`${seed}::bytea`) : sql`0::float8`
  const { rows } = await sql<Previewed>`
    with member_of as (
      select ${bucket} as bucket,
        case when not (${matching}) is true then 'not-targeted' else coalesce(${unfitness(along, sql`false`)}, case when ${needsStep()} then 'must-pass-through' end) end as reason
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
  /** Of the releases that come with it. */
  companions: readonly string[]
  /** Which members are meant. */
  matching: RawBuilder<SqlBool>
  /** Absent: everybody counts as bucket 0. */
  seed?: Buffer
  /** Cumulative, rising. */
  percents: readonly number[]
}
