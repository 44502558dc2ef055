import type { Generated } from 'kysely'

import type { DdiProfile } from '../protocol/ddi.ts'

/** Columns of migrations/0026_ddi.sql. */

export interface DdiProductTable {
  model: string
  profile: DdiProfile
  component: string
  part: string
  version_attribute: string | null
  poll_seconds: number
  changed_at: Date
}

export interface DdiLineTable {
  enrollment_profile_id: string
  model: string
  hardware_ids: string[]
  changed_at: Date
}

export interface DdiDeviceTable {
  device_id: string
  controller_id: string
  wants_attributes: Generated<boolean>
  created_at: Date
  auto_confirm_at: Date | null
  auto_confirm_by: string | null
  auto_confirm_remark: string | null
}

export interface DdiActionTable {
  device_id: string
  id: number
  deployment_id: string
  created_at: Date
  started_at: Date | null
  claimed_at: Date | null
  closed_at: Date | null
  messages: Generated<unknown>
  last_sha256: Buffer | null
  last_at: Date | null
}

export interface DdiTokenTable {
  device_id: string
  hash: Buffer
  despite_certificate: boolean
  created_by: string
  created_at: Date
  last_used_at: Date | null
}

export interface DdiDigestTable {
  sha256: string
  sha1: string
  md5: string
}
