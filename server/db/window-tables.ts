import type { Generated } from 'kysely'

/** When updates may begin: migration 0034. */

export interface MaintenanceWindowTable {
  id: string
  /** Of a device or of a group: one of the two. */
  device_id: string | null
  group_id: string | null
  rule: unknown
  created_by: string
  created_at: Date
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface BlackoutCalendarTable {
  id: string
  name: string
  zone: string
  dates: unknown
  created_by: string
  created_at: Date
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}
