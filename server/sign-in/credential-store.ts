import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { PersonPasskeyTable, PersonTotpTable } from '../db/sign-in-tables.ts'

export type Passkey = Selectable<PersonPasskeyTable>
export type Totp = Selectable<PersonTotpTable>

/** Who has which local account, with the password's hash; undefined without such an account. */
export interface LocalAccount {
  id: string
  name: string
  email: string
  state: 'active' | 'disabled'
  hash: string | null
}

export async function findAccount(db: Db, email: string): Promise<LocalAccount | undefined> {
  return await accounts(db)
    .where((eb) => eb(eb.fn<string>('lower', ['person.email']), '=', email.toLowerCase()))
    .executeTakeFirst()
}

export async function getAccount(db: Db, personId: string): Promise<LocalAccount | undefined> {
  return await accounts(db).where('person.id', '=', personId).executeTakeFirst()
}

/** The address of somebody with or without an account here; null when none is known. */
export async function emailOf(db: Db, personId: string): Promise<string | null> {
  const row = await db
    .selectFrom('person')
    .select('email')
    .where('id', '=', personId)
    .executeTakeFirst()
  return row?.email ?? null
}

/** The account, locked: what is decided about its factors is decided one after the other. */
export async function lockAccount(tx: Tx, personId: string): Promise<LocalAccount | undefined> {
  const locked = await tx
    .selectFrom('person')
    .select('id')
    .where('id', '=', personId)
    .forUpdate()
    .executeTakeFirst()
  return locked && (await getAccount(tx, personId))
}

function accounts(db: Db) {
  return db
    .selectFrom('person')
    .leftJoin('person_password', 'person_password.person_id', 'person.id')
    .where('person.oidc_issuer', 'is', null)
    .where('person.email', 'is not', null)
    .select(['person.id', 'person.name', 'person.state', 'person_password.hash'])
    .select(sql<string>`person.email`.as('email'))
}

export async function setPassword(
  tx: Tx,
  personId: string,
  { hash, now }: { hash: string; now: Date },
): Promise<void> {
  await tx
    .insertInto('person_password')
    .values({ person_id: personId, hash, changed_at: now })
    .onConflict((oc) => oc.column('person_id').doUpdateSet({ hash, changed_at: now }))
    .execute()
}

/** The same password, hashed anew, unless it was changed meanwhile. */
export async function replaceHash(
  tx: Tx,
  personId: string,
  { from, to }: { from: string; to: string },
): Promise<void> {
  await tx
    .updateTable('person_password')
    .set({ hash: to })
    .where('person_id', '=', personId)
    .where('hash', '=', from)
    .execute()
}

export async function getTotp(db: Db, personId: string): Promise<Totp | undefined> {
  return await db
    .selectFrom('person_totp')
    .selectAll()
    .where('person_id', '=', personId)
    .executeTakeFirst()
}

export async function setTotp(tx: Tx, totp: Totp): Promise<void> {
  const { person_id: _, ...values } = totp
  await tx
    .insertInto('person_totp')
    .values(totp)
    .onConflict((oc) => oc.column('person_id').doUpdateSet(values))
    .execute()
}

/** Uses a time step up. False when it, or a later one, was used before. */
export async function takeStep(tx: Tx, personId: string, step: number): Promise<boolean> {
  const row = await tx
    .updateTable('person_totp')
    .set({ last_step: step })
    .where('person_id', '=', personId)
    .where('last_step', '<', step)
    .returning('person_id')
    .executeTakeFirst()
  return row !== undefined
}

export async function removeTotp(tx: Tx, personId: string): Promise<boolean> {
  const row = await tx
    .deleteFrom('person_totp')
    .where('person_id', '=', personId)
    .returning('person_id')
    .executeTakeFirst()
  return row !== undefined
}

/** At most 20 of a person, so they are never paged. */
export async function passkeysOf(db: Db, personId: string): Promise<Passkey[]> {
  return await db
    .selectFrom('person_passkey')
    .selectAll()
    .where('person_id', '=', personId)
    .orderBy('id')
    .execute()
}

export async function findPasskey(db: Db, credentialId: Buffer): Promise<Passkey | undefined> {
  return await db
    .selectFrom('person_passkey')
    .selectAll()
    .where('credential_id', '=', credentialId)
    .executeTakeFirst()
}

/** False when this credential is known already. */
export async function insertPasskey(tx: Tx, passkey: Passkey): Promise<boolean> {
  const row = await tx
    .insertInto('person_passkey')
    .values(passkey)
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

/** After a sign-in. False when another one with this passkey came in between. */
export async function usePasskey(
  tx: Tx,
  used: Pick<Passkey, 'id' | 'counter' | 'is_backed_up'> & { before: number; now: Date },
): Promise<boolean> {
  const row = await tx
    .updateTable('person_passkey')
    .set({ counter: used.counter, is_backed_up: used.is_backed_up, last_used_at: used.now })
    .where('id', '=', used.id)
    .where('counter', '=', used.before)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function removePasskey(
  tx: Tx,
  personId: string,
  id: string,
): Promise<Passkey | undefined> {
  return await tx
    .deleteFrom('person_passkey')
    .where('id', '=', id)
    .where('person_id', '=', personId)
    .returningAll()
    .executeTakeFirst()
}

/** These codes and no others, used or not. */
export async function replaceRecoveryCodes(
  tx: Tx,
  personId: string,
  { hashes, now }: { hashes: readonly Buffer[]; now: Date },
): Promise<void> {
  await tx.deleteFrom('person_recovery_code').where('person_id', '=', personId).execute()
  if (hashes.length === 0) return
  await tx
    .insertInto('person_recovery_code')
    .values(
      hashes.map((hash) => ({
        person_id: personId,
        code_hash: hash,
        created_at: now,
        used_at: null,
      })),
    )
    .execute()
}

/** False when there is no such code, or it was used. */
export async function useRecoveryCode(
  tx: Tx,
  personId: string,
  { hash, now }: { hash: Buffer; now: Date },
): Promise<boolean> {
  const row = await tx
    .updateTable('person_recovery_code')
    .set({ used_at: now })
    .where('person_id', '=', personId)
    .where('code_hash', '=', hash)
    .where('used_at', 'is', null)
    .returning('person_id')
    .executeTakeFirst()
  return row !== undefined
}

export async function recoveryCodesLeft(db: Db, personId: string): Promise<number> {
  const row = await db
    .selectFrom('person_recovery_code')
    .select(({ fn }) => fn.countAll<number>().as('left'))
    .where('person_id', '=', personId)
    .where('used_at', 'is', null)
    .executeTakeFirst()
  return Number(row?.left ?? 0)
}

/** Everything that the person proves themselves with is gone. */
export async function removeCredentials(tx: Tx, personId: string): Promise<void> {
  for (const table of [
    'person_password',
    'person_totp',
    'person_passkey',
    'person_recovery_code',
  ] as const) {
    await tx.deleteFrom(table).where('person_id', '=', personId).execute()
  }
}
