import type { Generated } from 'kysely'

/** Operators, security events: migration 0002 and later ones. */

export interface ApiKeyTable {
  id: string
  name: string
  /** What it was made with. What it may do now is in access_grant. */
  role: string
  prefix: string
  secret_hash: Buffer
  created_by: string
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
  revoked_at: Date | null
  owner_id: string | null
  previous_hash: Buffer | null
  overlap_ends_at: Date | null
  rotation_id: string | null
  rotated_at: Date | null
}

export interface SecurityEventTable {
  id: string
  at: Date
  source: 'server' | 'device'
  kind: string
  severity: 'info' | 'warning' | 'critical'
  device_id: string | null
  facts: unknown
  /** Looked at by the rules of alerts. */
  judged: Generated<boolean>
  /** Of what a device reported: a message that comes twice is stored once. */
  reported_hash: string | null
}

export interface IdempotencyTable {
  actor: string
  key: string
  request_hash: Buffer
  resource_id: string
  created_at: Date
}
