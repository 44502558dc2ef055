import type { Generated, GeneratedAlways } from 'kysely'

import type { DeviceState } from '../devices/state.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { ReleaseState } from '../releases/state.ts'
import type { RolloutState } from '../rollouts/state.ts'

/**
 * The whole data model on one page. `test/integration/schema.test.ts` holds it to the migrations.
 * `bigint` and `numeric` columns arrive as numbers, `bytea` as Buffer, whatever the driver (db/client.ts).
 */
export interface Schema {
  installation: InstallationTable
  authority: AuthorityTable
  certificate: CertificateTable
  server_identity: ServerIdentityTable
  crl: CrlTable
  api_key: ApiKeyTable
  audit_event: AuditEventTable
  security_event: SecurityEventTable
  idempotency: IdempotencyTable
  outbox: OutboxTable
  device_group: DeviceGroupTable
  enrollment_profile: EnrollmentProfileTable
  enrollment_token: EnrollmentTokenTable
  device: DeviceTable
  device_group_member: DeviceGroupMemberTable
  device_presence: DevicePresenceTable
  incident: IncidentTable
  identity_change: IdentityChangeTable
  artifact: ArtifactTable
  model: ModelTable
  release: ReleaseTable
  metadata_file: MetadataFileTable
  metadata_signature: MetadataSignatureTable
  release_key: ReleaseKeyTable
  online_key: OnlineKeyTable
  director_state: DirectorStateTable
  rollout: RolloutTable
  rollout_phase: RolloutPhaseTable
  deployment: DeploymentTable
  deployment_count: DeploymentCountTable
  deployment_event: DeploymentEventTable
  choice_event: ChoiceEventTable
}

export interface InstallationTable {
  id: number
  kek_check: Buffer
  created_at: Date
}

export interface AuthorityTable {
  id: string
  purpose: 'root' | 'devices' | 'servers'
  name: string
  state: Generated<'active' | 'retired'>
  issuer_id: string | null
  certificate: Buffer
  wrapped_key: Buffer | null
  revocation_rev: Generated<number>
  created_at: Date
}

export interface CertificateTable {
  id: string
  authority_id: string
  serial: Buffer
  kind: 'server' | 'device'
  state: 'pending' | 'issued' | 'superseded' | 'revoked' | 'abandoned'
  device_id: string | null
  request_key: Buffer | null
  tbs: Buffer
  der: Buffer | null
  fingerprint: string | null
  subject: string
  not_before: Date
  not_after: Date
  revoked_at: Date | null
  revocation_reason: string | null
  created_at: Date
}

export interface ServerIdentityTable {
  certificate_id: string
  wrapped_key: Buffer
  created_at: Date
}

export interface CrlTable {
  authority_id: string
  number: number
  covers_rev: number
  der: Buffer
  this_update: Date
  next_update: Date
}

export interface ApiKeyTable {
  id: string
  name: string
  role: 'admin' | 'operator' | 'viewer'
  prefix: string
  secret_hash: Buffer
  created_by: string
  created_at: Date
  expires_at: Date | null
  last_used_at: Date | null
  revoked_at: Date | null
}

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
}

export interface SecurityEventTable {
  id: string
  at: Date
  source: 'server' | 'device'
  kind: string
  severity: 'info' | 'warning' | 'critical'
  device_id: string | null
  facts: unknown
}

export interface IdempotencyTable {
  actor: string
  key: string
  request_hash: Buffer
  resource_id: string
  created_at: Date
}

export interface OutboxTable {
  seq: GeneratedAlways<number>
  topic: string
  payload: unknown
  available_at: Date
  sent_at: Date | null
}

export interface DeviceGroupTable {
  id: string
  name: string
  description: Generated<string>
  policy: Generated<unknown>
  created_at: Date
}

export interface EnrollmentProfileTable {
  id: string
  name: string
  group_id: string
  auth_type: 'token' | 'certificate'
  registration: 'just-in-time' | 'pre-registered'
  id_pattern: string | null
  quota: number | null
  used: Generated<number>
  valid_from: Date | null
  valid_until: Date | null
  key_policy: string[]
  certificate_days: number
  created_at: Date
}

export interface EnrollmentTokenTable {
  id: string
  profile_id: string
  secret_hash: Buffer
  max_uses: number | null
  uses: Generated<number>
  expires_at: Date | null
  created_by: string
  created_at: Date
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
  device_id: string | null
  group_id: string | null
  at: Date
}

export interface ArtifactTable {
  id: string
  sha256: string
  size: number
  name: string
  created_by: string
  created_at: Date
}

export interface ModelTable {
  id: string
  name: string
  hardware_ids: string[]
  created_at: Date
}

export interface ReleaseTable {
  id: string
  model: string
  component: string
  version: string
  build: number
  svn: number
  class: 'security' | 'feature' | 'config'
  artifact_id: string
  hardware_ids: string[]
  min_previous: number | null
  requires: Generated<unknown>
  fixes: Generated<string[]>
  notes: Generated<string>
  advisory: unknown
  state: Generated<ReleaseState>
  metadata_version: number | null
  created_by: string
  created_at: Date
  published_at: Date | null
}

export interface MetadataFileTable {
  repository: 'image' | 'director'
  role: string
  version: number
  state: 'draft' | 'published'
  signed: string
  signed_sha256: string
  envelope: string | null
  expires_at: Date
  created_at: Date
  published_at: Date | null
}

export interface MetadataSignatureTable {
  repository: 'image' | 'director'
  role: string
  version: number
  keyid: string
  signed_sha256: string
  sig: string
  sent_by: string
  at: Date
}

export interface ReleaseKeyTable {
  keyid: string
  name: string
  public: string
  created_at: Date
}

export interface OnlineKeyTable {
  repository: 'image' | 'director'
  role: string
  keyid: string
  public: string
  wrapped_key: Buffer
  created_at: Date
}

export interface DirectorStateTable {
  device_id: string
  targets_version: number
  snapshot_version: number
  targets: string
  snapshot: string
  content_hash: string
  artifact_sha256s: string[]
  expires_at: Date
  signed_at: Date
}

export interface RolloutTable {
  id: string
  name: string
  release_id: string
  group_id: string
  seed: Buffer
  state: Generated<RolloutState>
  phase_no: Generated<number>
  policy: Generated<unknown>
  reason: string | null
  base_succeeded: Generated<number>
  base_failed: Generated<number>
  created_by: string
  created_at: Date
  changed_at: Date
  started_at: Date | null
  ended_at: Date | null
}

export interface RolloutPhaseTable {
  rollout_id: string
  no: number
  percent: number
  success_percent: number
  min_executed: number
  hold: boolean
  opened_at: Date | null
}

export interface DeploymentTable {
  id: string
  rollout_id: string
  device_id: string
  release_id: string
  component: string
  phase_no: number
  state: DeploymentState
  rev: Generated<number>
  attempts: Generated<number>
  progress: number | null
  code: string | null
  detail: string | null
  commit_nonce: string | null
  first_offered_at: Date | null
  postponed_until: Date | null
  postpone_count: Generated<number>
  created_at: Date
  changed_at: Date
}

export interface DeploymentCountTable {
  rollout_id: string
  phase_no: number
  state: DeploymentState
  shard: number
  n: number
}

export interface DeploymentEventTable {
  seq: GeneratedAlways<number>
  deployment_id: string
  from_state: DeploymentState | null
  to_state: DeploymentState
  actor: 'engine' | 'device' | 'owner' | 'operator'
  code: string | null
  detail: string | null
  reported_at: Date | null
  at: Date
}

export interface ChoiceEventTable {
  seq: GeneratedAlways<number>
  device_id: string
  deployment_id: string | null
  choice: 'accept' | 'postpone' | 'optOut' | 'optIn'
  until: Date | null
  outcome: string
  at: Date
}
