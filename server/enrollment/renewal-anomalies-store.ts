import { sql } from 'kysely'

import type { Db } from '../db/client.ts'

interface RecentRenewal {
  /** Of the certificate that was issued. */
  id: string
  at: Date
  /** As the one that it replaces. */
  isSameKey: boolean
  /** Where it was asked for, as the audit log has it. */
  address: string | null
}

/** What a device was issued since then in place of another one, newest first: `assertNotTooOften` bounds how many. */
export async function recentRenewals(
  db: Db,
  deviceId: string,
  since: Date,
): Promise<RecentRenewal[]> {
  const { rows } = await sql<RecentRenewal>`
    select c.id, c.created_at as at, r.spki_sha256 = c.spki_sha256 as "isSameKey",
      (select a.origin ->> 'address' from audit_event a
        where a.subject = c.id::text and a.action = 'certificate.issue' order by a.seq limit 1) as address
    from certificate c join certificate r on r.id = c.replaces_id
    where c.device_id = ${deviceId} and c.created_at > ${since} and c.der is not null
    order by c.created_at desc, c.id desc limit 100`.execute(db)
  return rows
}
