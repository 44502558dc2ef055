import type { Generated, GeneratedAlways } from 'kysely'

import type { AuthorityPurpose, AuthorityState } from '../authorities/state.ts'
import type { DeviceState } from '../devices/state.ts'

/** Authorities, certificates, devices: migrations 0001 to 0003. */

export interface InstallationTable {
  id: number
  kek_check: Buffer
  kek_rotated_at: Date | null
  created_at: Date
}

export interface AuthorityTable {
  id: string
  purpose: AuthorityPurpose
  name: string
  state: Generated<AuthorityState>
  issuer_id: string | null
  certificate: Buffer
  wrapped_key: Buffer | null
  series: Generated<string>
  key_uri: string | null
  revoked_at: Date | null
  revocation_reason: string | null
  key_destroyed_at: Date | null
  revocation_rev: Generated<number>
  created_at: Date
  changed_at: Generated<Date>
}

export interface RootLinkTable {
  old_id: string
  new_id: string
  old_with_new: Buffer
  new_with_old: Buffer
}

export interface AuthorityRequestTable {
  id: string
  purpose: Exclude<AuthorityPurpose, 'root'>
  name: string
  root_id: string
  request: string
  wrapped_key: Buffer | null
  series: Generated<string>
  key_uri: string | null
  created_at: Date
}

export interface CertificateTable {
  id: string
  authority_id: string
  serial: Buffer
  kind: 'server' | 'device' | 'ocsp-responder' | 'claim' | 'scep-ra'
  state: 'pending' | 'issued' | 'superseded' | 'held' | 'revoked' | 'abandoned'
  device_id: string | null
  replaces_id: string | null
  enrollment_token_id: string | null
  spki_sha256: Buffer
  request_key: Buffer | null
  tbs: Buffer
  der: Buffer | null
  fingerprint: string | null
  subject: string
  not_before: Date
  not_after: Date
  revoked_at: Date | null
  revocation_reason: string | null
  crl_shard: number | null
  revocation_rev: Generated<number>
  held_state: 'issued' | 'superseded' | null
  created_at: Date
}

export interface CertificateExpiryNoticeTable {
  certificate_id: string
  stage: 'warning' | 'critical'
  told_at: Date
}

export interface ServerIdentityTable {
  certificate_id: string
  wrapped_key: Buffer
  created_at: Date
}

export interface CrlTable {
  authority_id: string
  /** -1: everything the authority took back. */
  shard: Generated<number>
  is_delta: Generated<boolean>
  number: number
  covers_rev: number
  base_number: Generated<number>
  base_rev: Generated<number>
  base_at: Date
  der: Buffer
  this_update: Date
  next_update: Date
}

export interface DeviceGroupTable {
  id: string
  name: string
  description: Generated<string>
  policy: Generated<unknown>
  created_at: Date
  /** Null: people choose the members. */
  query: string | null
  /** With a query: when all devices are to be looked at again. */
  evaluate_at: Date | null
  evaluated_at: Date | null
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface EnrollmentProfileTable {
  id: string
  name: string
  group_id: string
  auth_type: 'token' | 'certificate' | 'claim'
  registration: 'just-in-time' | 'pre-registered'
  id_pattern: string | null
  quota: number | null
  used: Generated<number>
  valid_from: Date | null
  valid_until: Date | null
  key_policy: string[]
  certificate_days: number
  trust_anchors: Generated<string[]>
  anchor_subjects: Generated<string[]>
  approval: Generated<'none' | 'manual'>
  replaceable: Generated<'off' | 'same-key' | 'on'>
  webhook_url: string | null
  webhook_secret: Buffer | null
  managed: Generated<boolean>
  issuer_series: string | null
  paused_at: Date | null
  source_networks: Generated<string[]>
  quota_per_hour: number | null
  hour_began_at: Date | null
  hour_used: Generated<number>
  created_at: Date
  /** Made by somebody who is limited to groups: it takes no device of others. */
  limited: Generated<boolean>
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface EnrollmentTokenTable {
  id: string
  profile_id: string
  secret_hash: Buffer
  max_uses: number | null
  uses: Generated<number>
  expires_at: Date | null
  kind: Generated<'token' | 'claim' | 'manufacturer' | 'batch' | 'challenge'>
  certificate: Buffer | null
  identity: string | null
  created_by: string
  created_at: Date
  /** As in the profile. */
  limited: Generated<boolean>
}

export interface EnrollmentRequestTable {
  id: string
  profile_id: string
  token_id: string
  request_hash: Buffer
  serial_number: string
  key_algorithm: string
  spki_sha256: Buffer
  state: 'pending' | 'approved' | 'denied' | 'issued'
  request_key: Buffer | null
  decided_by: string | null
  decided_at: Date | null
  reason: string | null
  created_at: Date
  last_seen_at: Date
}

export interface EnrollmentBatchTable {
  id: string
  profile_id: string
  token_id: string
  state: 'loading' | 'running' | 'done'
  total: Generated<number>
  issued: Generated<number>
  failed: Generated<number>
  created_by: string
  created_at: Date
  finished_at: Date | null
}

export interface EnrollmentBatchRowTable {
  batch_id: string
  row_number: number
  csr: Buffer | null
  state: 'waiting' | 'issued' | 'failed'
  message: string | null
  fingerprint: string | null
}

export interface EstPolicyTable {
  profile_id: string
  opens_percent: number
  jitter_percent: number
  grace_days: number
  renewal_key: 'any' | 'new' | 'same'
  renew_issued_before: Date | null
  renew_spread_hours: number
  csr_attributes: Buffer | null
  channel_binding: 'optional' | 'required'
  server_key: string | null
  overlap_days: number | null
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface ScepPolicyTable {
  profile_id: string
  enabled: boolean
  allow_sha1: boolean
  allow_triple_des: boolean
  allow_ber: boolean
  changed_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
}

export interface ScepTransactionTable {
  profile_id: string
  transaction_id: string
  spki_sha256: Buffer
  token_id: string | null
  csr: Buffer
  last_seen_at: Date
}

export interface ScepNonceTable {
  spki_sha256: Buffer
  nonce: Buffer
  seen_at: Date
}

export interface DeviceTable {
  id: string
  name: string
  serial_number: string
  state: DeviceState
  model: string | null
  hardware_ids: Generated<string[]>
  agent: string | null
  attributes: Generated<unknown>
  installed: Generated<unknown>
  update_opt_out: Generated<boolean>
  managed: Generated<boolean>
  managed_agreed: Generated<boolean>
  monitoring_off: Generated<boolean>
  enrollment_profile_id: string | null
  created_at: Date
  changed_at: Date
}

export interface DeviceGroupMemberTable {
  group_id: string
  device_id: string
}

export interface DevicePresenceTable {
  device_id: string
  node_id: string
  epoch: number
  connected: boolean
  last_seen_at: Date
}

export interface BrokerNodeTable {
  id: string
  seen_at: Date
}

export interface IncidentTable {
  id: string
  group_id: string
  reason: string
  opened_by: string
  opened_at: Date
  closed_by: string | null
  closed_at: Date | null
}

export interface IdentityChangeTable {
  seq: GeneratedAlways<number>
  /** Of the transaction that wrote it: xid8, in digits. */
  xid: Generated<string>
  device_id: string | null
  group_id: string | null
  at: Date
}
