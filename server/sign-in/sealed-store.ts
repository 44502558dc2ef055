import type { Tx } from '../db/client.ts'

export interface SealedRow {
  personId: string
  sealed: Buffer
  /** Of what is being set up; undefined: of an account. */
  ticketHash: Buffer | undefined
}

/** Every secret of an authenticator app that is stored, locked. */
export async function lockSealed(tx: Tx): Promise<SealedRow[]> {
  const own = await tx
    .selectFrom('person_totp')
    .select(['person_id', 'sealed_secret'])
    .orderBy('person_id')
    .forUpdate()
    .execute()
  const begun = await tx
    .selectFrom('sign_in_ticket')
    .select(['person_id', 'sealed_secret', 'token_hash'])
    .where('sealed_secret', 'is not', null)
    .orderBy('token_hash')
    .forUpdate()
    .execute()
  return [
    ...own.map((row) => ({
      personId: row.person_id,
      sealed: row.sealed_secret,
      ticketHash: undefined,
    })),
    ...begun.flatMap((row) =>
      row.person_id === null || row.sealed_secret === null
        ? []
        : [{ personId: row.person_id, sealed: row.sealed_secret, ticketHash: row.token_hash }],
    ),
  ]
}

export async function setSealed(tx: Tx, row: SealedRow, sealed: Buffer): Promise<void> {
  const values = { sealed_secret: sealed }
  if (row.ticketHash === undefined) {
    await tx.updateTable('person_totp').set(values).where('person_id', '=', row.personId).execute()
    return
  }
  await tx
    .updateTable('sign_in_ticket')
    .set(values)
    .where('token_hash', '=', row.ticketHash)
    .execute()
}
