import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { CertificateExpiryNoticeTable } from '../db/schema.ts'

export type ExpiryStage = CertificateExpiryNoticeTable['stage']

export interface Ending {
  id: string
  device_id: string
  fingerprint: string | null
  not_before: Date
  not_after: Date
}

/** A page of the certificates that devices use, by id. */
export async function listIssued(
  db: Db,
  { after, limit }: { after: string | undefined; limit: number },
): Promise<Ending[]> {
  let query = db
    .selectFrom('certificate')
    .select(['id', 'device_id', 'fingerprint', 'not_before', 'not_after'])
    .where('kind', '=', 'device')
    .where('state', '=', 'issued')
    .where('device_id', 'is not', null)
    .$narrowType<{ device_id: string }>()
  if (after !== undefined) query = query.where('id', '>', after)
  return await query.orderBy('id').limit(limit).execute()
}

/** Which of these are the newest certificate of a device that may still connect. */
export async function lastOfTheirDevices(tx: Tx, ids: readonly string[]): Promise<Set<string>> {
  const rows = await tx
    .selectFrom('certificate')
    .innerJoin('device', 'device.id', 'certificate.device_id')
    .select('certificate.id')
    .where('certificate.id', '=', sql<string>`any(${[...ids]}::uuid[])`)
    .where('device.state', '=', 'active')
    .where(
      sql<boolean>`not exists (select from certificate younger
        where younger.device_id = certificate.device_id and younger.created_at > certificate.created_at
          and younger.kind = 'device' and younger.state = 'issued')`,
    )
    .execute()
  return new Set(rows.map(({ id }) => id))
}

/** Writes down what is told of now. Returns the ids of those that were not told of before, or less urgently. */
export async function noteTold(
  tx: Tx,
  told: readonly { id: string; stage: ExpiryStage }[],
  now: Date,
): Promise<Set<string>> {
  const ids = told.map(({ id }) => id)
  const stages = told.map(({ stage }) => stage)
  const { rows } = await sql<{ certificate_id: string }>`
    insert into certificate_expiry_notice as notice (certificate_id, stage, told_at)
    select id, stage, ${now}::timestamptz from unnest(${ids}::uuid[], ${stages}::text[]) as one (id, stage)
    order by id
    on conflict (certificate_id) do update set stage = excluded.stage, told_at = excluded.told_at
      where notice.stage = 'warning' and excluded.stage = 'critical'
    returning certificate_id`.execute(tx)
  return new Set(rows.map((row) => row.certificate_id))
}
