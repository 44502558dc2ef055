import { type RawBuilder, type Selectable, sql } from 'kysely'

import type { ReleaseTable } from './schema.ts'

/*
 * What a device is told beside one release, as columns of a query over `device` and `deployment`.
 */

export type Companion = Pick<
  Selectable<ReleaseTable>,
  'model' | 'component' | 'version' | 'class' | 'metadata_version'
>

export interface OwnSettings {
  id: string
  revision: number
  sha256: string
  size: number
  model: string
  hardwareIds: string[]
  /** Build of the schema that the device has. */
  schemaBuild: number
}

/** Settings of its own that the device shall have, if there are any. */
export function ownSettings(): RawBuilder<OwnSettings | null> {
  return sql`(select jsonb_build_object('id', own.id, 'revision', own.revision, 'sha256', own.sha256,
      'size', own.size, 'model', device.model, 'hardwareIds', to_jsonb(device.hardware_ids),
      'schemaBuild', coalesce((
        select runs.build from jsonb_to_recordset(device.installed) runs(component text, build bigint)
        where runs.component = 'cfgschema' limit 1), 0))
    from device_settings own
    where own.device_id = device.id and own.state = 'wanted' and device.model is not null)`
}

/** Of the rollout's other releases, those that the device does not run yet; none beside a step on the way. */
export function missingCompanions(): RawBuilder<Companion[] | null> {
  return sql`(select jsonb_agg(jsonb_build_object(
      'model', along.model, 'component', along.component, 'version', along.version,
      'class', along.class, 'metadata_version', along.metadata_version)
    order by along.component)
    from rollout_companion companion join release along on along.id = companion.release_id
    where companion.rollout_id = deployment.rollout_id and not deployment.is_step and not exists (
      select from jsonb_to_recordset(device.installed) runs(component text, build bigint)
      where runs.component = along.component and runs.build >= along.build))`
}
