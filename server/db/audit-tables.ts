import type { Generated, GeneratedAlways } from 'kysely'

/** Audit: migrations 0002 and 0044. */

export interface AuditEventTable {
  seq: GeneratedAlways<number>
  at: Date
  actor: string
  action: string
  subject: string
  facts: unknown
  request_id: string | null
  chain_no: number | null
  prev_hash: Buffer | null
  hash: Buffer | null
  origin: unknown
  format: Generated<number>
}

export interface AuditKeyTable {
  id: string
  log_id: string
  public_key: Buffer
  wrapped_key: Buffer | null
  endorsement: string | null
  created_at: Date
  retired_at: Date | null
}

export interface AuditCheckpointTable {
  chain_no: number
  hash: Buffer
  at: Date
  key_id: string
  note: string
}

export interface AuditStartTable {
  chain_no: number
  hash: Buffer
  rows: number
  dropped_at: Date
}

export interface AuditHoldTable {
  id: GeneratedAlways<number>
  at: Date
  actor: string
  held: boolean
  reason: string
}

export interface AuditStreamTable {
  name: string
  chain_no: Generated<number>
  checkpoint_no: Generated<number>
  owner: string | null
  owned_until: Date | null
  failed_at: Date | null
  failure: string | null
}
