import { sql } from 'kysely'

import type { Db, Tx } from '../db/client.ts'

/** What a device says of itself, ready to be stored. */
export interface SelfDescription {
  id: string
  model: string
  hardware_ids: readonly string[]
  agent: string
  attributes: Readonly<Record<string, string | number | boolean>>
  installed: readonly {
    component: string
    version: string
    build: number
    svn: number
    sha256: string
  }[]
  update_opt_out: boolean
  managed_agreed: boolean
  /** Null: it does not say, and what is known stays. */
  monitoring_off: boolean | null
}

/** What is known of a device before it says more. */
export interface Known {
  optOut: boolean
  monitoringOff: boolean
  /** Build by component. */
  builds: ReadonlyMap<string, number>
}

/** Of each of these devices, locked until the transaction ends. */
export async function lockKnown(tx: Tx, deviceIds: readonly string[]): Promise<Map<string, Known>> {
  const rows = await tx
    .selectFrom('device')
    .select(['id', 'update_opt_out', 'monitoring_off', 'installed'])
    .where('id', '=', sql<string>`any(${[...deviceIds]}::uuid[])`)
    .orderBy('id')
    // Not `for update`: that would make every new deployment of the device wait, for its foreign key.
    .forNoKeyUpdate()
    .execute()
  return new Map(
    rows.map((row) => {
      const installed = row.installed as { component: string; build: number }[]
      const builds = new Map(installed.map(({ component, build }) => [component, build]))
      return [row.id, { optOut: row.update_opt_out, monitoringOff: row.monitoring_off, builds }]
    }),
  )
}

const columns = sql`
  id uuid, model text, hardware_ids jsonb, agent text, attributes jsonb, installed jsonb, update_opt_out boolean,
  managed_agreed boolean, monitoring_off boolean`

/**
 * Stores what devices say of themselves in one statement. Rows that say what is known already are not written, so a fleet
 * that reconnects costs reads only. `changed_at` stays as it is: deadlines of deployments run from it
 * (deployments/end-store.ts), and a device that boots in circles and says something new each time must not put them off.
 */
export async function saveSelfDescriptions(
  tx: Tx,
  rows: readonly SelfDescription[],
): Promise<void> {
  await tx
    .updateTable('device')
    .from(
      sql<Record<string, unknown>>`jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)`.as<'said'>(
        sql`said(${columns})`,
      ),
    )
    .set({
      model: sql<string>`said.model`,
      hardware_ids: sql<string[]>`array(select jsonb_array_elements_text(said.hardware_ids))`,
      agent: sql<string>`said.agent`,
      attributes: sql`said.attributes`,
      installed: sql`said.installed`,
      update_opt_out: sql<boolean>`said.update_opt_out`,
      managed_agreed: sql<boolean>`said.managed_agreed`,
      monitoring_off: sql<boolean>`coalesce(said.monitoring_off, device.monitoring_off)`,
    })
    .where(sql<boolean>`device.id = said.id`)
    .where(
      sql<boolean>`(device.model, to_jsonb(device.hardware_ids), device.agent, device.attributes, device.installed,
        device.update_opt_out, device.managed_agreed, device.monitoring_off) is distinct from (said.model, said.hardware_ids, said.agent, said.attributes,
        said.installed, said.update_opt_out, said.managed_agreed, coalesce(said.monitoring_off, device.monitoring_off))`,
    )
    .execute()
}

/** Of these devices those whose model is known, that is, which said hello before. */
export async function modelledAmong(db: Db, deviceIds: readonly string[]): Promise<string[]> {
  const rows = await db
    .selectFrom('device')
    .select('id')
    .where('id', '=', sql<string>`any(${deviceIds}::uuid[])`)
    .where('model', 'is not', null)
    .execute()
  return rows.map(({ id }) => id)
}
