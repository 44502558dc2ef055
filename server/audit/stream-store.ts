import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { AuditStreamTable } from '../db/schema.ts'

export type StreamRow = Selectable<AuditStreamTable>

/** How far a stream has come; from the beginning when it is new. */
export async function findStream(db: Db, name: string): Promise<StreamRow | undefined> {
  return await db.selectFrom('audit_stream').selectAll().where('name', '=', name).executeTakeFirst()
}

/** Takes a stream for a process until an instant, or keeps it. Undefined while another one has it. */
export async function leaseStream(
  tx: Tx,
  name: string,
  lease: { owner: string; now: Date; until: Date },
): Promise<StreamRow | undefined> {
  const { owner, now, until } = lease
  await tx
    .insertInto('audit_stream')
    .values({ name, owner: null, owned_until: null, failed_at: null, failure: null })
    .onConflict((oc) => oc.doNothing())
    .execute()
  return await tx
    .updateTable('audit_stream')
    .set({ owner, owned_until: until })
    .where('name', '=', name)
    .where((eb) =>
      eb.or([eb('owner', 'is', null), eb('owner', '=', owner), eb('owned_until', '<', now)]),
    )
    .returningAll()
    .executeTakeFirst()
}

/** Notes what the receiver has. Never backwards; nothing when another process has the stream by now. */
export async function advanceStream(
  tx: Tx,
  name: string,
  to: { owner: string; chainNo: number; checkpointNo: number },
): Promise<void> {
  await tx
    .updateTable('audit_stream')
    .set({
      chain_no: to.chainNo,
      checkpoint_no: to.checkpointNo,
      failed_at: null,
      failure: null,
    })
    .where('name', '=', name)
    .where('owner', '=', to.owner)
    .where('chain_no', '<=', to.chainNo)
    .where('checkpoint_no', '<=', to.checkpointNo)
    .execute()
}

/** Notes since when the receiver does not take anything, and why. */
export async function failStream(
  tx: Tx,
  name: string,
  failed: { owner: string; at: Date; failure: string },
): Promise<void> {
  await tx
    .updateTable('audit_stream')
    .set((eb) => ({
      failed_at: eb.fn.coalesce('failed_at', eb.val(failed.at)),
      failure: failed.failure.slice(0, 300),
    }))
    .where('name', '=', name)
    .where('owner', '=', failed.owner)
    .execute()
}

export async function releaseStream(tx: Tx, name: string, owner: string): Promise<void> {
  await tx
    .updateTable('audit_stream')
    .set({ owner: null, owned_until: null })
    .where('name', '=', name)
    .where('owner', '=', owner)
    .execute()
}

/** Where a stream without a lease stands, locked; new ones stand at `begin`. Undefined while another process moves it. */
export async function lockStream(tx: Tx, name: string, begin: number): Promise<number | undefined> {
  await tx
    .insertInto('audit_stream')
    .values({
      name,
      chain_no: begin,
      owner: null,
      owned_until: null,
      failed_at: null,
      failure: null,
    })
    .onConflict((oc) => oc.doNothing())
    .execute()
  const row = await tx
    .selectFrom('audit_stream')
    .select('chain_no')
    .where('name', '=', name)
    .forUpdate()
    .skipLocked()
    .executeTakeFirst()
  return row?.chain_no
}

export async function moveStream(tx: Tx, name: string, chainNo: number): Promise<void> {
  await tx.updateTable('audit_stream').set({ chain_no: chainNo }).where('name', '=', name).execute()
}
