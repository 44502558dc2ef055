import type { Generated, GeneratedAlways } from 'kysely'

import type { FormMethod, FormReason, FormState } from '../deltas/state.ts'
import type { DeploymentState } from '../protocol/deployment.ts'
import type { choices } from '../protocol/messages.ts'
import type { ReleaseState } from '../releases/state.ts'
import type { RolloutState } from '../rollouts/state.ts'
import type { SettingsState } from '../settings/state.ts'

/** Artifacts, releases, metadata, rollouts, deployments: migrations 0004 and 0005. */

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
  policy: Generated<unknown>
  created_at: Date
  /** Of what people write in it (server/version.ts). */
  version: Generated<number>
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
  mixed_reason: unknown
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
  state: 'draft' | 'published' | 'discarded'
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
  scheme: Generated<string>
  sent_by: string
  at: Date
}

export interface ReleaseKeyTable {
  keyid: string
  name: string
  public: string
  scheme: Generated<string>
  created_at: Date
}

export interface OnlineKeyTable {
  repository: 'image' | 'director'
  role: string
  keyid: string
  public: string
  wrapped_key: Buffer
  created_at: Date
  next_keyid: string | null
  next_public: string | null
  next_wrapped_key: Buffer | null
  next_created_at: Date | null
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

export interface DeliveryFormTable {
  id: string
  target_sha256: string
  method: FormMethod
  base_sha256: string | null
  state: Generated<FormState>
  reason: FormReason | null
  sha256: string | null
  length: number | null
  index_length: number | null
  index_sha256: string | null
  block_bytes: number | null
  cpu_ms: number | null
  lease: string | null
  leased_until: Date | null
  attempts: Generated<number>
  created_at: Date
  changed_at: Date
}

export interface DeliveryPlanTable {
  release_id: string
  planned_at: Date
}

export interface RolloutTable {
  id: string
  name: string
  /** Null for kind `certificate`. */
  release_id: string | null
  group_id: string
  seed: Buffer
  state: Generated<RolloutState>
  phase_no: Generated<number>
  policy: Generated<unknown>
  reason: string | null
  base_succeeded: Generated<number>
  base_failed: Generated<number>
  base_counts: Generated<unknown>
  usual_failed: number | null
  limits: Generated<unknown>
  kind: Generated<'update' | 'retry' | 'rollback' | 'certificate'>
  priority: Generated<number>
  pass_queue: Generated<boolean>
  max_in_flight: number | null
  bytes_per_minute: number | null
  query: string | null
  abort_rules: Generated<unknown>
  install_window: unknown
  ignore_windows: unknown
  needed_ms: number | null
  approvals_needed: Generated<number>
  definition_hash: Buffer | null
  edited_by: string | null
  start_at: Date | null
  parent_id: string | null
  certificate_issuer: string | null
  certificate_before: Date | null
  rate_at: Date | null
  bytes_at: Date | null
  created_by: string
  created_at: Date
  changed_at: Date
  started_at: Date | null
  ended_at: Date | null
  /** Its query asks for groups or enrollment profiles by name. */
  names_groups: Generated<boolean>
}

export interface RolloutApprovalTable {
  rollout_id: string
  approver: string
  definition_hash: Buffer
  reason: string | null
  at: Date
}

export interface RolloutPhaseTable {
  rollout_id: string
  no: number
  percent: number | null
  success_percent: number
  min_executed: number
  hold: boolean
  opened_at: Date | null
  kind: Generated<'percent' | 'count' | 'cohort'>
  count: number | null
  cohort_id: string | null
  seen_within_s: number | null
  rate: unknown
  soak_s: Generated<number>
  max_put_off: number | null
  within_s: number | null
  met_at: Date | null
  held_at: Date | null
  admitted: Generated<number>
}

export interface RolloutCohortMemberTable {
  rollout_id: string
  phase_no: number
  device_id: string
}

export interface DeviceSettingsTable {
  id: string
  device_id: string
  revision: number
  settings: string
  sha256: string
  size: number
  state: SettingsState
  commit_nonce: string | null
  code: string | null
  detail: string | null
  created_by: string
  created_at: Date
  changed_at: Date
}

export interface LogEntryTable {
  no: number
  data: string
  leaf: Buffer
  at: Date
}

export interface LogNodeTable {
  level: number
  no: number
  hash: Buffer
}

export interface LogEdgeTable {
  id: Generated<number>
  size: Generated<number>
  peaks: Generated<string[]>
}

export interface RolloutCompanionTable {
  rollout_id: string
  release_id: string
  component: string
}

export interface DeploymentTable {
  id: string
  rollout_id: string
  device_id: string
  /** Null for kind `certificate`. */
  release_id: string | null
  component: string
  phase_no: number
  /** Of a release that leads to the rollout's own: once it is behind the device it is in no count. */
  is_step: Generated<boolean>
  state: DeploymentState
  rev: Generated<number>
  attempts: Generated<number>
  progress: number | null
  code: string | null
  detail: string | null
  commit_nonce: string | null
  /** What ran of the component when the device was admitted. */
  from_build: number | null
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
  proof: string | null
  proof_certificate: string | null
  at: Date
}

export interface ChoiceEventTable {
  seq: GeneratedAlways<number>
  device_id: string
  deployment_id: string | null
  choice: (typeof choices)[number]
  until: Date | null
  outcome: string
  /** Of a row that stands for choices which were not recorded: how many. */
  omitted: number | null
  /** Of the release. */
  version: string | null
  /** Of the text that the device showed. */
  text_sha256: string | null
  /** By the device's trusted time. */
  chosen_at: Date | null
  at: Date
}

/** A person forgave what a device did (rollouts.md §7). */
export interface DevicePenaltyLiftTable {
  device_id: string
  lifted_at: Date
  rolled_back_until: Date | null
  lifted_by: string
  reason: string
}
