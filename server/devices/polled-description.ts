import { sql } from 'kysely'

import type { Tx } from '../db/client.ts'
import { regroup } from '../groups/dynamic.ts'

export interface PolledDescription {
  deviceId: string
  model?: string
  hardwareIds?: readonly string[]
  agent?: string
  attributes?: Readonly<Record<string, string | number | boolean>>
  /** Takes the place of what is known of this component. */
  installed?: { component: string; version: string; build: number; svn: number; sha256: string }
}

/**
 * Stores what is known of a device that says no `hello`, and puts it into the groups whose query finds it now. What is left
 * out stays as it was. `changed_at` stays too (hello-store.ts). Returns the devices whose groups changed.
 */
export async function describePolled(
  tx: Tx,
  { deviceId, model, hardwareIds, agent, attributes, installed }: PolledDescription,
  now: Date,
): Promise<string[]> {
  const set = {
    ...(model === undefined ? {} : { model }),
    ...(hardwareIds === undefined ? {} : { hardware_ids: [...hardwareIds] }),
    ...(agent === undefined ? {} : { agent }),
    ...(attributes === undefined ? {} : { attributes: JSON.stringify(attributes) }),
    ...(installed === undefined ? {} : { installed: withComponent(installed) }),
  }
  if (Object.keys(set).length > 0) {
    await tx
      .updateTable('device')
      .set(set)
      .where('id', '=', deviceId)
      .where('state', '=', 'active')
      .execute()
  }
  return await regroup(tx, [deviceId], now)
}

function withComponent(installed: NonNullable<PolledDescription['installed']>) {
  return sql<string>`(select coalesce(jsonb_agg(one), '[]') from jsonb_array_elements(device.installed) one
    where one->>'component' <> ${installed.component}) || ${JSON.stringify([installed])}::jsonb`
}
