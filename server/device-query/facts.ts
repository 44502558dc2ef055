import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import type { DeviceFacts } from './match.ts'
import type { Literal } from './query.ts'

interface Row {
  id: string
  name: string
  serial_number: string
  model: string | null
  state: string
  agent: string | null
  profile: string | null
  connected: boolean | null
  update_opt_out: boolean
  managed: boolean
  last_seen_at: Date | null
  created_at: Date
  /** Seconds since 1970, by JSON. */
  ends: number[]
  groups: string[]
  hardware_ids: string[]
  attributes: Record<string, Literal>
  installed: DeviceFacts['installed']
}

/** What `matches` needs to know of devices, in one statement. A device that does not exist is left out. */
export async function loadDeviceFacts(
  db: Db,
  deviceIds: readonly string[],
): Promise<DeviceFacts[]> {
  if (deviceIds.length === 0) return []
  const { rows } = await sql<Row>`
    select device.id, device.name, device.serial_number, device.model, device.state, device.agent,
      (select profile.name from enrollment_profile profile where profile.id = device.enrollment_profile_id) as profile,
      presence.connected, presence.last_seen_at, device.update_opt_out, device.managed, device.created_at,
      array(select extract(epoch from held.not_after)::float8 from certificate held
        where held.device_id = device.id and held.kind = 'device' and held.state = 'issued') as ends,
      array(select named.name from device_group_member member join device_group named on named.id = member.group_id
        where member.device_id = device.id) as groups,
      device.hardware_ids, device.attributes, device.installed
    from device left join device_presence presence on presence.device_id = device.id
    where device.id = any(${[...deviceIds]}::uuid[])`.execute(db)
  return rows.map(factsOf)
}

function factsOf(row: Row): DeviceFacts {
  return {
    id: row.id,
    name: row.name,
    serialNumber: row.serial_number,
    model: row.model,
    state: row.state,
    agent: row.agent,
    enrollmentProfile: row.profile,
    connected: row.connected ?? false,
    updateOptOut: row.update_opt_out,
    managed: row.managed,
    lastSeen: row.last_seen_at,
    created: row.created_at,
    certificatesExpire: row.ends.map((seconds) => new Date(Math.round(seconds * 1000))),
    groups: row.groups,
    hardwareIds: row.hardware_ids,
    attributes: row.attributes,
    installed: row.installed,
  }
}
