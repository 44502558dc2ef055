import { type Selectable, sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'
import type { DdiLineTable, DdiProductTable } from '../db/schema.ts'

export type Product = Selectable<DdiProductTable>
export type Line = Selectable<DdiLineTable>

export async function findProduct(db: Db, model: string): Promise<Product | undefined> {
  return await db
    .selectFrom('ddi_product')
    .selectAll()
    .where('model', '=', model)
    .executeTakeFirst()
}

export async function modelExists(db: Db, model: string): Promise<boolean> {
  const row = await db.selectFrom('model').select('id').where('name', '=', model).executeTakeFirst()
  return row !== undefined
}

export async function saveProduct(tx: Tx, row: Product): Promise<void> {
  const { model: _, ...rest } = row
  await tx
    .insertInto('ddi_product')
    .values(row)
    .onConflict((oc) => oc.column('model').doUpdateSet(rest))
    .execute()
}

export async function findLine(db: Db, profileId: string): Promise<Line | undefined> {
  return await db
    .selectFrom('ddi_line')
    .selectAll()
    .where('enrollment_profile_id', '=', profileId)
    .executeTakeFirst()
}

export async function profileExists(db: Db, profileId: string): Promise<boolean> {
  const row = await db
    .selectFrom('enrollment_profile')
    .select('id')
    .where('id', '=', profileId)
    .executeTakeFirst()
  return row !== undefined
}

/** Of the ids, those that the model does not have. */
export async function unknownHardware(
  db: Db,
  model: string,
  hardwareIds: readonly string[],
): Promise<string[]> {
  const { rows } = await sql<{ id: string }>`
    select wanted.id from unnest(${[...hardwareIds]}::text[]) wanted(id)
    where not exists (select from model where name = ${model} and wanted.id = any(hardware_ids))`.execute(
    db,
  )
  return rows.map(({ id }) => id)
}

export async function saveLine(tx: Tx, row: Line): Promise<void> {
  const { enrollment_profile_id: _, ...rest } = row
  await tx
    .insertInto('ddi_line')
    .values(row)
    .onConflict((oc) => oc.column('enrollment_profile_id').doUpdateSet(rest))
    .execute()
}

export async function deleteLine(tx: Tx, profileId: string): Promise<boolean> {
  const row = await tx
    .deleteFrom('ddi_line')
    .where('enrollment_profile_id', '=', profileId)
    .returning('model')
    .executeTakeFirst()
  return row !== undefined
}
