import type { Selectable } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { PersonTable } from '../db/schema.ts'
import { DomainError } from '../errors.ts'
import type { PersonState } from './state.ts'

export type Person = Selectable<PersonTable>

/** @throws DomainError `not-found` */
export async function getPerson(db: Db, id: string): Promise<Person> {
  const row = await db.selectFrom('person').selectAll().where('id', '=', id).executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such person', { personId: id })
  return row
}

/** The same, locked against changes until the transaction ends. */
export async function lockPerson(tx: Tx, id: string): Promise<Person> {
  const row = await tx
    .selectFrom('person')
    .selectAll()
    .where('id', '=', id)
    .forUpdate()
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such person', { personId: id })
  return row
}

/** Newest first; `before` is the id of the last one seen. */
export async function listPersons(
  db: Db,
  page: { before: string | undefined; limit: number },
): Promise<Person[]> {
  return await db
    .selectFrom('person')
    .selectAll()
    .$if(page.before !== undefined, (query) => query.where('id', '<', page.before ?? ''))
    .orderBy('id', 'desc')
    .limit(page.limit)
    .execute()
}

/** The local account that signs in with this address, whatever its case. */
export async function findLocalPerson(db: Db, email: string): Promise<Person | undefined> {
  return await db
    .selectFrom('person')
    .selectAll()
    .where('oidc_issuer', 'is', null)
    .where((eb) => eb(eb.fn<string>('lower', ['email']), '=', email.toLowerCase()))
    .executeTakeFirst()
}

/** Who this is at the provider. */
export async function findProviderPerson(
  db: Db,
  who: { issuer: string; subject: string },
): Promise<Person | undefined> {
  return await db
    .selectFrom('person')
    .selectAll()
    .where('oidc_issuer', '=', who.issuer)
    .where('oidc_subject', '=', who.subject)
    .executeTakeFirst()
}

export interface NewPerson {
  id: string
  name: string
  email: string | null
  oidc?: { issuer: string; subject: string } | undefined
  createdBy: string
  createdAt: Date
}

/** Stores a person unless the id is there already, or the provider's subject is. Returns whether it was stored now. */
export async function insertPerson(tx: Tx, person: NewPerson): Promise<boolean> {
  const inserted = await tx
    .insertInto('person')
    .values({
      id: person.id,
      name: person.name,
      email: person.email,
      state: 'active',
      oidc_issuer: person.oidc?.issuer ?? null,
      oidc_subject: person.oidc?.subject ?? null,
      created_by: person.createdBy,
      created_at: person.createdAt,
    })
    .onConflict((oc) => oc.doNothing())
    .returning('id')
    .executeTakeFirst()
  return inserted !== undefined
}

/** Returns false when the state was that already. */
export async function movePerson(
  tx: Tx,
  id: string,
  state: PersonState,
  now: Date,
): Promise<boolean> {
  const row = await tx
    .updateTable('person')
    .set({ state, disabled_at: state === 'disabled' ? now : null })
    .where('id', '=', id)
    .where('state', '<>', state)
    .returning('id')
    .executeTakeFirst()
  return row !== undefined
}

export async function changePersonRow(
  tx: Tx,
  id: string,
  changes: Pick<Person, 'name' | 'email'>,
): Promise<void> {
  await tx.updateTable('person').set(changes).where('id', '=', id).execute()
}

/** What the provider says about somebody at each sign-in; of a local account only when it was. */
export async function noteSignIn(
  tx: Tx,
  id: string,
  seen: { now: Date; name?: string | undefined; email?: string | null | undefined },
): Promise<void> {
  await tx
    .updateTable('person')
    .set({
      last_sign_in_at: seen.now,
      ...(seen.name === undefined ? {} : { name: seen.name }),
      ...(seen.email === undefined ? {} : { email: seen.email }),
    })
    .where('id', '=', id)
    .execute()
}
