import type { Generated } from 'kysely'

/** Who may do what: migration 0039. */

export interface AccessRoleTable {
  name: string
  description: string
  permissions: string[]
  group_ids: string[]
  created_by: string
  created_at: Date
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface AccessGrantTable {
  principal: string
  no: number
  role: string
  group_ids: string[]
  created_by: string
  created_at: Date
}
