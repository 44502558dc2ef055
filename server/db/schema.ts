import type { AccessGrantTable, AccessRoleTable } from './access-tables.ts'
import type {
  AlertChannelTable,
  AlertMailTable,
  AlertRuleTable,
  AlertTable,
} from './alert-tables.ts'
import type {
  ApprovalPolicyTable,
  ApprovalRequestTable,
  ApprovalVoiceTable,
} from './approval-tables.ts'
import type {
  AuditCheckpointTable,
  AuditEventTable,
  AuditHoldTable,
  AuditKeyTable,
  AuditStartTable,
  AuditStreamTable,
} from './audit-tables.ts'
import type {
  DdiActionTable,
  DdiDeviceTable,
  DdiDigestTable,
  DdiLineTable,
  DdiProductTable,
  DdiTokenTable,
} from './ddi-tables.ts'
import type {
  InstallationTable,
  AuthorityRequestTable,
  AuthorityTable,
  RootLinkTable,
  CertificateExpiryNoticeTable,
  CertificateTable,
  ServerIdentityTable,
  CrlTable,
  DeviceGroupTable,
  EnrollmentProfileTable,
  EnrollmentTokenTable,
  EstPolicyTable,
  ScepPolicyTable,
  ScepTransactionTable,
  ScepNonceTable,
  EnrollmentRequestTable,
  EnrollmentBatchTable,
  EnrollmentBatchRowTable,
  DeviceTable,
  DeviceGroupMemberTable,
  DevicePresenceTable,
  BrokerNodeTable,
  IncidentTable,
  IdentityChangeTable,
} from './identity-tables.ts'
import type { ApiKeyTable, SecurityEventTable, IdempotencyTable } from './operator-tables.ts'
import type { DeploymentCodeCountTable, RollbackTargetTable } from './outcome-tables.ts'
import type { UpdateOverrideTable } from './override-tables.ts'
import type {
  OidcAttemptTable,
  OperatorCertificateTable,
  OperatorSessionTable,
  PersonTable,
  WorkloadIdentityTable,
} from './people-tables.ts'
import type {
  PersonInvitationTable,
  PersonPasskeyTable,
  PersonPasswordTable,
  PersonRecoveryCodeTable,
  PersonTotpTable,
  SignInLimitTable,
  SignInTicketTable,
} from './sign-in-tables.ts'
import type { TlsTicketKeyTable } from './ticket-tables.ts'
import type {
  ArtifactTable,
  ModelTable,
  ReleaseTable,
  MetadataFileTable,
  MetadataSignatureTable,
  ReleaseKeyTable,
  OnlineKeyTable,
  DirectorStateTable,
  DeliveryFormTable,
  DeliveryPlanTable,
  RolloutTable,
  RolloutPhaseTable,
  RolloutCohortMemberTable,
  RolloutCompanionTable,
  RolloutApprovalTable,
  DeviceSettingsTable,
  LogEntryTable,
  LogNodeTable,
  LogEdgeTable,
  DeploymentTable,
  DeploymentCountTable,
  DeploymentEventTable,
  ChoiceEventTable,
  DevicePenaltyLiftTable,
} from './updates-tables.ts'
import type {
  OutboxEventTable,
  WebhookDeliveryTable,
  WebhookEndpointTable,
} from './webhook-tables.ts'
import type { BlackoutCalendarTable, MaintenanceWindowTable } from './window-tables.ts'

/**
 * The whole data model on one page; columns are in the two files above. `test/integration/schema.test.ts` holds it to
 * the migrations. `bigint` and `numeric` columns arrive as numbers, `bytea` as Buffer, whatever the driver (client.ts).
 */
export interface Schema {
  installation: InstallationTable
  authority: AuthorityTable
  authority_request: AuthorityRequestTable
  root_link: RootLinkTable
  certificate: CertificateTable
  certificate_expiry_notice: CertificateExpiryNoticeTable
  server_identity: ServerIdentityTable
  tls_ticket_key: TlsTicketKeyTable
  crl: CrlTable
  api_key: ApiKeyTable
  access_role: AccessRoleTable
  access_grant: AccessGrantTable
  approval_policy: ApprovalPolicyTable
  approval_request: ApprovalRequestTable
  approval_voice: ApprovalVoiceTable
  person: PersonTable
  operator_session: OperatorSessionTable
  person_password: PersonPasswordTable
  person_totp: PersonTotpTable
  person_passkey: PersonPasskeyTable
  person_recovery_code: PersonRecoveryCodeTable
  person_invitation: PersonInvitationTable
  sign_in_ticket: SignInTicketTable
  sign_in_limit: SignInLimitTable
  oidc_attempt: OidcAttemptTable
  workload_identity: WorkloadIdentityTable
  operator_certificate: OperatorCertificateTable
  audit_event: AuditEventTable
  audit_key: AuditKeyTable
  audit_checkpoint: AuditCheckpointTable
  audit_start: AuditStartTable
  audit_hold: AuditHoldTable
  audit_stream: AuditStreamTable
  security_event: SecurityEventTable
  idempotency: IdempotencyTable
  device_group: DeviceGroupTable
  enrollment_profile: EnrollmentProfileTable
  enrollment_token: EnrollmentTokenTable
  est_policy: EstPolicyTable
  scep_policy: ScepPolicyTable
  scep_transaction: ScepTransactionTable
  scep_nonce: ScepNonceTable
  enrollment_request: EnrollmentRequestTable
  enrollment_batch: EnrollmentBatchTable
  enrollment_batch_row: EnrollmentBatchRowTable
  device: DeviceTable
  device_group_member: DeviceGroupMemberTable
  device_presence: DevicePresenceTable
  broker_node: BrokerNodeTable
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
  delivery_form: DeliveryFormTable
  delivery_plan: DeliveryPlanTable
  rollout: RolloutTable
  rollout_phase: RolloutPhaseTable
  rollout_cohort_member: RolloutCohortMemberTable
  rollout_companion: RolloutCompanionTable
  rollout_approval: RolloutApprovalTable
  device_settings: DeviceSettingsTable
  log_entry: LogEntryTable
  log_node: LogNodeTable
  log_edge: LogEdgeTable
  deployment: DeploymentTable
  deployment_count: DeploymentCountTable
  deployment_code_count: DeploymentCodeCountTable
  rollback_target: RollbackTargetTable
  deployment_event: DeploymentEventTable
  choice_event: ChoiceEventTable
  ddi_product: DdiProductTable
  ddi_line: DdiLineTable
  ddi_device: DdiDeviceTable
  ddi_action: DdiActionTable
  ddi_digest: DdiDigestTable
  ddi_token: DdiTokenTable
  update_override: UpdateOverrideTable
  maintenance_window: MaintenanceWindowTable
  blackout_calendar: BlackoutCalendarTable
  device_penalty_lift: DevicePenaltyLiftTable
  outbox_event: OutboxEventTable
  alert: AlertTable
  alert_rule: AlertRuleTable
  alert_channel: AlertChannelTable
  alert_mail: AlertMailTable
  webhook_endpoint: WebhookEndpointTable
  webhook_delivery: WebhookDeliveryTable
}

export type * from './access-tables.ts'
export type * from './approval-tables.ts'
export type * from './alert-tables.ts'
export type * from './ddi-tables.ts'
export type * from './webhook-tables.ts'
export type * from './window-tables.ts'
export type * from './audit-tables.ts'
export type * from './identity-tables.ts'
export type * from './operator-tables.ts'
export type * from './outcome-tables.ts'
export type * from './override-tables.ts'
export type * from './people-tables.ts'
export type * from './sign-in-tables.ts'
export type * from './updates-tables.ts'
