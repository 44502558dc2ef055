import type { Db } from '../db/client.ts'

/** The certificate of any authority, retired ones included: what was issued by it still points here. */
export async function findAuthorityCertificate(db: Db, id: string): Promise<Buffer | undefined> {
  const row = await db
    .selectFrom('authority')
    .select('certificate')
    .where('id', '=', id)
    .executeTakeFirst()
  return row?.certificate
}

/** Whether there is a list of what a root took back. */
export async function hasRootCrl(db: Db, rootId: string): Promise<boolean> {
  const row = await db
    .selectFrom('crl')
    .select('number')
    .where('authority_id', '=', rootId)
    .limit(1)
    .executeTakeFirst()
  return row !== undefined
}
