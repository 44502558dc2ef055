/** Who may do what: migration 0039. */

export interface AccessRoleTable {
  name: string
  description: string
  permissions: string[]
  group_ids: string[]
  created_by: string
  created_at: Date
  changed_at: Date
}

export interface AccessGrantTable {
  principal: string
  no: number
  role: string
  group_ids: string[]
  created_by: string
  created_at: Date
}
