/* Written by scripts/generate-client.ts from the description of the interface. */
/* oxlint-disable eslint/max-lines, typescript/no-redundant-type-constituents, typescript/no-duplicate-type-constituents */

interface Answered<T> {
    headers: Record<string, unknown>
    content: T
}
interface Refused<C extends string> {
    headers: Record<string, unknown>
    content: { 'application/problem+json': Problem & { code: C } }
}

/** RFC 9457. Beside these members there are facts of the refusal, such as `state` or `needs`. */
export type Problem = {
  /** A page that says what it means, and what to do next */
  type: string
  /** From a closed list, which never changes meaning */
  code: string
  title: string
  status: number
  /** For people */
  detail?: string | undefined
  requestId?: string | undefined
  /** What is wrong with which field */
  issues?: ({
    at?: string | undefined
    message?: string | undefined
  })[] | undefined
}

export type Abort = {
  defaults: boolean
  rules: (AbortRule)[]
}

export type AbortRule = {
  kinds: ("failed_final" | "rolled_back" | "lost" | "timeout" | "dark" | "rejected" | "opted_out")[]
  minExecuted: number
  percent: number
  scope: "phase" | "rollout"
  action: "pause" | "cancel" | "rollback"
}

export type AbortRuleInput = {
  kinds?: ("failed_final" | "rolled_back" | "lost" | "timeout" | "dark" | "rejected" | "opted_out")[] | undefined
  minExecuted?: number | undefined
  percent: number
  scope?: "phase" | "rollout" | undefined
  action?: "pause" | "cancel" | "rollback" | undefined
}

export type AbortWanted = {
  defaults?: boolean | undefined
  rules?: (AbortRuleInput)[] | undefined
}

export type Advisory = {
  id: string
  severity: "low" | "medium" | "high" | "critical"
  url: string
  text?: string | undefined
  action?: string | undefined
  exploited: boolean
}

export type AdvisoryInput = {
  id: string
  severity: "low" | "medium" | "high" | "critical"
  url: string
  text?: string | undefined
  action?: string | undefined
  exploited?: boolean | undefined
}

export type Alert = {
  id: Id
  ruleId: Id
  rule: string
  kind: string
  severity: "info" | "warning" | "critical"
  deviceId: Id | null
  state: "open" | "acknowledged" | "resolved"
  count: number
  firstAt: Instant
  lastAt: Instant
  toldAt: Instant | null
  note: string | null
  means: string | null
  todo: string | null
  acknowledgedBy: string | null
  acknowledgedAt: Instant | null
  resolvedBy: string | null
  resolvedAt: Instant | null
}

export type AlertAction = {
  action: "acknowledge" | "resolve"
  note?: string | undefined
}

export type AlertChannel = {
  id: Id
  name: string
  kind: "webhook" | "email"
  endpointId: Id | null
  recipients: (string)[] | null
  held: number
  createdBy: string
  createdAt: Instant
}

export type AlertChannelAction = {
  action: "test"
}

export type AlertMail = {
  id: Id
  channelId: Id
  alertId: Id | null
  recipients: (string)[]
  subject: string
  state: "pending" | "delivered" | "dead"
  attempts: number
  dueAt: Instant | null
  lastError: string | null
  createdAt: Instant
  endedAt: Instant | null
}

export type AlertMailAction = {
  action: "retry"
}

export type AlertRule = {
  id: Id
  name: string
  kinds: string
  source: "server" | "device" | "any"
  minSeverity: "info" | "warning" | "critical"
  groupIds: (Id)[]
  threshold: number
  windowSeconds: number
  quietSeconds: number
  each: "kind" | "device"
  channelIds: (Id)[]
  enabled: boolean
  createdBy: string
  createdAt: Instant
  changedAt: Instant
  version: number
}

export type ApiKey = {
  id: Id
  name: string
  role: string
  grants: ({
    role: string
    groupIds: (Id)[]
  })[]
  prefix: string
  ownerId: Id | null
  createdBy: string
  createdAt: Instant
  rotatedAt: Instant | null
  overlapEndsAt: Instant | null
  expiresAt: Instant | null
  lastUsedAt: Instant | null
  revokedAt: Instant | null
}

export type ApiKeyMade = {
  id: Id
  name: string
  role: string
  grants: ({
    role: string
    groupIds: (Id)[]
  })[]
  prefix: string
  ownerId: Id | null
  createdBy: string
  createdAt: Instant
  rotatedAt: Instant | null
  overlapEndsAt: Instant | null
  expiresAt: Instant | null
  lastUsedAt: Instant | null
  revokedAt: Instant | null
  secret: string
}

export type Approval = {
  by: string
  at: Instant
  reason: string | null
}

export type Approvals = number | null

export type Artifact = {
  id: Id
  sha256: string
  size: number
  name: string
  createdBy: string
  createdAt: Instant
}

export type Audit = {
  seq: number
  at: Instant
  actor: string
  action: string
  subject: string
  facts: Record<string, unknown>
  requestId: string | null
  origin: Origin | null
  chainNo: number | null
  hash: string | null
}

export type AuditKey = {
  id: Id
  key: string
  endorsement: string | null
  createdAt: Instant
  retiredAt: Instant | null
}

export type AuditStatus = {
  begins: number
  head: {
    chainNo: number
    hash: string
  } | null
  unsealed: number
  checkpoint: Checkpoint | null
  hold: Hold | null
  keptDays: number | null
  rightsSeparated: boolean
  excessiveRights: (string)[]
}

export type AuditVerification = {
  ok: boolean
  walked: number
  verifiedTo: number
  head: string
  more: boolean
  unsealed: number
  coveredTo: number
  firstBreak: {
    chainNo: number
    seq: number | null
    reason: "missing" | "wrong-previous" | "changed" | "forked" | "wrong-signature" | "cut-off"
  } | null
}

export type Authority = {
  id: Id
  purpose: "root" | "devices" | "servers" | "claims"
  name: string
  state: "prepared" | "active" | "accepted" | "retired"
  series: string
  algorithm: string
  issuerId: Id | null
  hasKey: boolean
  keyUri: string | null
  keyDestroyedAt: Instant | null
  revokedAt: Instant | null
  fingerprint: string
  notBefore: Instant
  notAfter: Instant
  certificate: string
  createdAt: Instant
  changedAt: Instant
}

export type AuthorityAction = {
  action: "activate" | "retire" | "destroy-key"
}

export type AuthorityRequest = {
  id: Id
  purpose: "devices" | "servers" | "claims"
  name: string
  series: string
  keyUri: string | null
  rootId: Id
  request: string
  createdAt: Instant
}

export type AuthorityRequestAnswer = {
  answer: string
}

export type Batch = {
  id: Id
  profileId: Id
  state: "loading" | "running" | "done"
  total: number
  issued: number
  failed: number
  createdBy: string
  createdAt: Instant
  finishedAt: Instant | null
}

export type BatchRow = {
  row: number
  state: "waiting" | "issued" | "failed"
  message: string | null
  serialNumber: string | null
  fingerprint: string | null
  certificate: string | null
}

export type Blackouts = (string)[]

export type Calendar = {
  id: string
  version: number
  name: string
  zone: string
  dates: (string)[]
  closed: boolean
  createdBy: string
  changedAt: Instant
}

export type CalendarWanted = {
  name: string
  zone: string
  dates: Blackouts
}

export type Certificate = {
  id: Id
  deviceId: Id | null
  authorityId: Id
  state: "pending" | "issued" | "superseded" | "held" | "revoked" | "abandoned"
  serial: string
  fingerprint: string | null
  subject: string
  notBefore: Instant
  notAfter: Instant
  revokedAt: Instant | null
  revocationReason: string | null
  createdAt: Instant
}

export type CertificateAction = {
  action: "revoke"
  reason: "unspecified" | "keyCompromise" | "affiliationChanged" | "superseded" | "cessationOfOperation" | "privilegeWithdrawn"
} | {
  action: "hold"
} | {
  action: "release"
}

export type CertificateTarget = {
  issuerId: string | null
  issuedBefore: Instant | null
}

export type CertificateWanted = {
  issuerId?: Id | undefined
  issuedBefore?: LocalInstant | undefined
}

export type Challenge = {
  id: Id
  serialNumber: string
  isUsed: boolean
  expiresAt: Instant | null
  createdBy: string
  createdAt: Instant
}

export type ChallengeMade = {
  id: Id
  serialNumber: string
  isUsed: boolean
  expiresAt: Instant | null
  createdBy: string
  createdAt: Instant
  challenge: string
  url: string
}

export type ChangeGroup = {
  name?: string | undefined
  description?: string | undefined
  query?: string | undefined
  policy?: unknown | undefined
}

export type Checkpoint = {
  chainNo: number
  hash: string
  at: Instant
  keyId: Id
  note: string
}

export type Choice = {
  deploymentId: string | null
  choice: "accept" | "postpone" | "optOut" | "optIn" | "monitorOff" | "monitorOn"
  until: Instant | null
  outcome: string
  version: string | null
  textSha256: string | null
  chosenAt: Instant | null
  at: Instant
}

export type ClaimMade = {
  id: Id
  maxUses: number | null
  uses: number
  expiresAt: Instant | null
  createdBy: string
  createdAt: Instant
  kind: "token" | "claim" | "manufacturer" | "batch" | "challenge"
  fingerprint: string | null
  serialNumber: string | null
  certificate: string | null
}

export type Consistency = {
  from: LogHead
  to: LogHead
  proof: (string)[]
}

export type ControllerWanted = {
  controllerId: string
}

export type Credential = {
  id: Id
  maxUses: number | null
  uses: number
  expiresAt: Instant | null
  createdBy: string
  createdAt: Instant
  kind: "token" | "claim" | "manufacturer" | "batch" | "challenge"
  fingerprint: string | null
  serialNumber: string | null
}

export type Credentials = {
  hasPassword: boolean
  totpSince: Instant | null
  passkeys: (Passkey)[]
  recoveryCodesLeft: number
}

export type DdiDevice = {
  deviceId: Id
  controllerId: string
  profile: "swupdate" | "rauc" | "zephyr" | "generic"
  link: "none" | "deploymentBase" | "confirmationBase" | "cancelAction"
  reason: string | null
  autoConfirmAt: Instant | null
  targetToken: {
    createdAt: Instant
    createdBy: string
    lastUsedAt: Instant | null
    despiteCertificate: boolean
  } | null
  action: {
    id: number
    deploymentId: Id
    startedAt: Instant | null
    claimedAt: Instant | null
    messages: (string)[]
  } | null
}

export type DdiLine = {
  profileId: Id
  model: string
  hardwareIds: (string)[]
  changedAt: Instant
}

export type DdiLineWanted = {
  model: string
  hardwareIds: (string)[]
}

export type DdiProduct = {
  model: string
  profile: "swupdate" | "rauc" | "zephyr" | "generic"
  component: string
  part: string
  versionAttribute: string | null
  pollSeconds: number
  changedAt: Instant
}

export type DdiProductWanted = {
  profile: "swupdate" | "rauc" | "zephyr" | "generic"
  component: string
  part?: string | undefined
  versionAttribute: string | null
  pollSeconds?: number | undefined
}

export type DdiToken = {
  deviceId: Id
  token: string
}

export type DdiTokenWanted = {
  reason: string
  despiteCertificate?: boolean | undefined
  model?: string | undefined
  hardwareIds?: (string)[] | undefined
}

export type Definition = {
  definitionHash: DefinitionHash
  definition: Record<string, unknown>
}

export type DefinitionHash = string

export type DeliveryForm = {
  method: "delta-z1" | "zstd"
  base: string | null
  state: "waiting" | "made" | "refused"
  reason: "not-smaller" | "cpu-limit" | "failed" | null
  sha256: string | null
  length: number | null
  blockBytes: number | null
  cpuMs: number | null
  changedAt: Instant
}

export type Deployment = {
  id: string
  rolloutId: string
  deviceId: string
  releaseId: string | null
  component: string
  phase: number
  state: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
  attempts: number
  progress: number | null
  code: string | null
  detail: string | null
  firstOfferedAt: Instant | null
  postponedUntil: Instant | null
  postponements: number
  createdAt: Instant
  changedAt: Instant
  serialNumber: string
}

export type DeploymentHistory = {
  id: string
  rolloutId: string
  deviceId: string
  releaseId: string | null
  component: string
  phase: number
  state: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
  attempts: number
  progress: number | null
  code: string | null
  detail: string | null
  firstOfferedAt: Instant | null
  postponedUntil: Instant | null
  postponements: number
  createdAt: Instant
  changedAt: Instant
  history: ({
    from: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost" | null
    to: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
    by: "engine" | "device" | "owner" | "operator"
    code: string | null
    detail: string | null
    reportedAt: Instant | null
    proof: {
      jws: string
      certificate: string
    } | null
    at: Instant
  })[]
}

export type Device = {
  id: Id
  name: string
  serialNumber: string
  model: string | null
  hardwareIds: (string)[]
  state: "registered" | "active" | "disabled" | "revoked" | "retired"
  connected: boolean
  lastSeenAt: Instant | null
  agent: string | null
  attributes: Record<string, unknown>
  installed: (Record<string, unknown>)[]
  updateOptOut: boolean
  monitoring: "on" | "off"
  managed: boolean
  lastRefusal?: {
    code: string | null
    detail: string | null
    deploymentId: string | null
    at: Instant
  } | null | undefined
  penalty?: Penalty | null | undefined
  certificate: {
    id: Id
    state: string
    serial: string
    fingerprint: string
    notBefore: Instant
    notAfter: Instant
  } | null
  targetToken: boolean
  groupIds: (Id)[]
  createdAt: Instant
  changedAt: Instant
}

export type DeviceAction = {
  action: "disable" | "enable" | "revoke" | "retire"
  reason: string
}

export type DeviceSummary = {
  total: number
  connected: number
  byState: {
    registered: number
    active: number
    disabled: number
    revoked: number
    retired: number
  }
}

export type Duration = string

export type EnrollmentRequest = {
  id: Id
  profileId: Id
  tokenId: Id
  serialNumber: string
  keyAlgorithm: string
  keySha256: string
  state: "pending" | "approved" | "denied" | "issued"
  decidedBy: string | null
  decidedAt: Instant | null
  reason: string | null
  createdAt: Instant
  lastSeenAt: Instant
}

export type EnrollmentRequestAction = {
  action: "approve" | "deny"
  reason?: string | undefined
}

export type EnrollmentToken = {
  id: Id
  maxUses: number | null
  uses: number
  expiresAt: Instant | null
  createdBy: string
  createdAt: Instant
}

export type EnrollmentTokenMade = {
  id: Id
  maxUses: number | null
  uses: number
  expiresAt: Instant | null
  createdBy: string
  createdAt: Instant
  token: string
}

export type EstPolicy = {
  renewal: {
    opensPercent: number
    jitterPercent: number
    graceDays: number
    key: "any" | "new" | "same"
    issuedBefore: Instant | null
    spreadHours: number
    overlapDays: number | null
  }
  csrAttributes: string | null
  channelBinding: "optional" | "required"
  serverKey: "P-256" | "P-384" | "Ed25519" | "RSA-2048" | "RSA-3072" | "RSA-4096" | "ML-DSA-44" | "ML-DSA-65" | "ML-DSA-87" | null
  changedAt: Instant | null
  version: number
}

export type EstPolicyWanted = {
  renewal?: {
    opensPercent?: number | undefined
    jitterPercent?: number | undefined
    graceDays?: number | undefined
    key?: "any" | "new" | "same" | undefined
    issuedBefore?: LocalInstant | null | undefined
    spreadHours?: number | undefined
    overlapDays?: number | null | undefined
  } | undefined
  csrAttributes?: string | null | undefined
  channelBinding?: "optional" | "required" | undefined
  serverKey?: "P-256" | "P-384" | "Ed25519" | "RSA-2048" | "RSA-3072" | "RSA-4096" | "ML-DSA-44" | "ML-DSA-65" | "ML-DSA-87" | null | undefined
}

export type Explanation = {
  rolloutId: string
  rolloutName: string
  deviceId: string
  code: "not-running" | "not-targeted" | "device-blocked" | "certificate-expiring" | "never-seen" | "incompatible" | "already-current" | "downgrade" | "rolled-back-before" | "open-deployment" | "must-pass-through" | "penalty" | "not-in-phase" | "out-of-window" | "other-rollout" | "rate" | "no-slot" | "admitted" | "queued" | "consent-needed" | "postponed" | "opted-out" | "under-way" | "ended"
  words: string
  change: string
  until: Instant | null
  path: ({
    releaseId: string
    version: string
    build: number
  })[]
  deployment: {
    id: string
    state: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
    code: string | null
    isStep: boolean
  } | null
  facts: Record<string, unknown>
  at: Instant
}

export type FirstFactor = {
  ticket: string
  kind: "totp"
  code: string
} | {
  ticket: string
  kind: "passkey"
  name?: string | undefined
  response: {
    id: string
    rawId: string
    type: "public-key"
    authenticatorAttachment?: "platform" | "cross-platform" | null | undefined
    clientExtensionResults: Record<string, unknown>
    response: {
      attestationObject: string
      clientDataJSON: string
      transports?: (string)[] | undefined
      authenticatorData?: string | undefined
      publicKey?: string | undefined
      publicKeyAlgorithm?: number | undefined
    }
  }
}

export type Group = {
  id: Id
  name: string
  description: string
  deviceCount: number
  query: string | null
  evaluatedAt: Instant | null
  incident: {
    id: Id
    reason: string
    openedAt: Instant
  } | null
  version: number
  createdAt: Instant
}

export type GroupAction = {
  action: "disable" | "enable"
  reason: string
}

export type Hold = {
  held: boolean
  reason: string
  actor: string
  at: Instant
}

export type HoldWanted = {
  held: boolean
  reason: string
}

/** A UUID */
export type Id = string

export type IgnoreWindows = {
  reason: string
  blackouts: boolean
}

export type IgnoreWindowsInput = {
  reason: string
  blackouts?: boolean | undefined
}

export type Import = {
  dryRun: boolean
  rows: number
  registered: number
  unchanged: number
  refused: number
  errors: ({
    line: number
    serialNumber: string
    message: string
  })[]
}

export type Inclusion = {
  head: LogHead
  no: number
  proof: (string)[]
}

/** RFC 3339, in UTC */
export type Instant = string

export type Invitation = {
  name: string
  email: string
  expiresAt: Instant
}

export type InvitationAcceptance = {
  token: string
  password?: string | undefined
}

export type InvitationMade = {
  id: Id
  personId: Id
  token: string
  url: string
  expiresAt: Instant
}

export type InvitationShown = {
  token: string
}

export type Kek = {
  rotatedAt: Instant | null
  isPreviousKept: boolean
}

export type KekAction = {
  action: "rotate" | "confirm"
}

export type KeyBundle = {
  certificateId: Id
  notAfter: Instant
  pkcs12: string
  passphrase: string
}

export type KeyBundleWanted = {
  keyAlgorithm?: "P-256" | "P-384" | "RSA-2048" | undefined
}

export type Limits = Partial<Record<"accepted" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "failed", Span>>

/** RFC 3339, with any offset */
export type LocalInstant = string

export type LogEntry = {
  no: number
  data: string
  leaf: string
  at: Instant
}

export type LogHead = {
  size: number
  root: string
}

export type MaintenanceWindow = {
  id: string
  version: number
  deviceId: string | null
  groupId: string | null
  window: WindowRule
  opens: Opens
  createdBy: string
  changedAt: Instant
}

export type MetadataDraft = {
  repository: "image" | "director"
  role: string
  version: number
  expires: string
  signed: string
  signedSha256: string
  previous?: string | undefined
  rootChain: (string)[]
  targets?: string | undefined
}

export type MetadataRenewal = {
  signed?: string | undefined
}

export type MetadataRole = {
  role: string
  repository: "image" | "director"
  published: {
    version: number
    expiresAt: Instant
  } | null
  draft: {
    version: number
    expiresAt: Instant
    signedSha256: string
    signatures: number
    threshold: number | null
  } | null
}

export type MetadataRoles = {
  items: (MetadataRole)[]
  nextCursor: null
}

export type MetadataRoots = {
  image: {
    root: string
    targets: string
  }
  director: {
    root: string
  }
  releaseKeys: ({
    keytype: "ed25519"
    scheme: "ed25519"
    keyval: {
      public: string
    }
  })[]
  releasePqKeys?: ({
    keytype: "ml-dsa"
    scheme: "ml-dsa-44" | "ml-dsa-65" | "ml-dsa-87"
    keyval: {
      public: string
    }
  })[] | undefined
}

export type MetadataRootsTaken = {
  evaluation: boolean
  isNew: boolean
}

export type MetadataSignatures = {
  signedSha256: string
  signatures: ({
    keyid: string
    sig: string
  })[]
  pqSignatures?: ({
    keyid: string
    sig: string
  })[] | undefined
}

export type MetadataSigned = {
  role: string
  version: number
  state: "draft" | "published"
  signatures: number
  threshold: number
  missing: ({
    keys: "current" | "next"
    scheme: "ed25519" | "ml-dsa"
    signatures: number
    threshold: number
  })[]
}

export type MixedReason = {
  kind: "not_technically_feasible" | "fix_is_functional_change"
  text: string
}

export type MixedReasonInput = {
  kind: "not_technically_feasible" | "fix_is_functional_change"
  text: string
}

export type Model = {
  id: Id
  name: string
  hardwareIds: (string)[]
  policy: ModelPolicy
  version: number
  createdAt: Instant
}

export type ModelPolicy = {
  autoUpdateApplicability: "applicable" | "component" | "professional_network" | "industrial"
  autoSecurity: boolean
  justification?: string | undefined
  postpone: {
    security?: {
      eachH: number
      graceH: number
      maxCount: number
      totalH: number
    } | undefined
    exploited?: {
      eachH: number
      graceH: number
      maxCount: number
      totalH: number
    } | undefined
  }
  quiet: (string)[]
}

export type ModelPolicyWanted = {
  autoUpdateApplicability?: "applicable" | "component" | "professional_network" | "industrial" | undefined
  autoSecurity?: boolean | undefined
  justification?: string | undefined
  postpone?: {
    security?: {
      eachH: number
      graceH: number
      maxCount: number
      totalH: number
    } | undefined
    exploited?: {
      eachH: number
      graceH: number
      maxCount: number
      totalH: number
    } | undefined
  } | undefined
  quiet?: (string)[] | undefined
}

export type NewAlertChannel = {
  name: string
  kind: "webhook"
  endpointId: Id
} | {
  name: string
  kind: "email"
  recipients: (string)[]
}

export type NewAlertRule = {
  name: string
  kinds: string
  source?: "server" | "device" | "any" | undefined
  minSeverity?: "info" | "warning" | "critical" | undefined
  groupIds?: (Id)[] | undefined
  threshold?: number | undefined
  windowSeconds?: number | undefined
  quietSeconds?: number | undefined
  each?: "kind" | "device" | undefined
  channelIds?: (Id)[] | undefined
  enabled?: boolean | undefined
}

export type NewApiKey = {
  name: string
  role: string
  groupIds?: (Id)[] | undefined
  expiresAt?: Instant | undefined
  ownerId?: Id | undefined
}

export type NewAuthority = {
  purpose: "root" | "devices" | "servers" | "claims"
  series?: SeriesName | undefined
  algorithm?: "P-256" | "P-384" | "RSA-3072" | "RSA-4096" | "ML-DSA-65" | "ML-DSA-87" | undefined
  keyUri?: string | undefined
}

export type NewAuthorityRequest = {
  purpose: "devices" | "servers" | "claims"
  series?: SeriesName | undefined
  algorithm?: "P-256" | "P-384" | "RSA-3072" | "RSA-4096" | "ML-DSA-65" | "ML-DSA-87" | undefined
  keyUri?: string | undefined
}

export type NewChallenge = {
  serialNumber: string
  validMinutes?: number | undefined
}

export type NewClaim = {
  certificate?: string | undefined
  csr?: string | undefined
  days?: number | undefined
  maxUses: number
  expiresAt?: LocalInstant | undefined
}

export type NewDevice = {
  serialNumber: string
  name?: string | undefined
  groupId?: Id | undefined
}

export type NewEnrollmentToken = {
  maxUses?: number | undefined
  expiresAt?: LocalInstant | undefined
}

export type NewGroup = {
  name: string
  description?: string | undefined
  query?: string | undefined
  policy?: unknown | undefined
}

export type NewModel = {
  name: string
  hardwareIds: (string)[]
}

export type NewOperatorCertificate = {
  name: string
  certificate: string
  role: string
  groupIds?: (Id)[] | undefined
  ownerId?: Id | undefined
}

export type NewProfile = {
  name: string
  groupId: Id
  auth: {
    type: "token" | "certificate" | "claim"
    trustAnchors?: (string)[] | undefined
  }
  registration: "just-in-time" | "pre-registered"
  idPattern?: string | undefined
  quota?: number | undefined
  quotaPerHour?: number | undefined
  sourceNetworks?: (string | string)[] | undefined
  validFrom?: LocalInstant | undefined
  validUntil?: LocalInstant | undefined
  approval?: "none" | "manual" | undefined
  replaceable?: "off" | "same-key" | "on" | undefined
  webhook?: {
    url: string
  } | undefined
  keyPolicy?: ("P-256" | "P-384" | "Ed25519" | "RSA-2048" | "RSA-3072" | "RSA-4096" | "ML-DSA-44" | "ML-DSA-65" | "ML-DSA-87")[] | undefined
  certificateDays?: number | undefined
  managed?: boolean | undefined
  issuerSeries?: SeriesName | undefined
}

export type NewRelease = {
  model: string
  component: string
  version: string
  build: number
  svn?: number | undefined
  class: "security" | "feature" | "config"
  artifactId: Id
  hardwareIds: (string)[]
  minPrevious?: number | undefined
  requires?: Requires | undefined
  fixes?: (string)[] | undefined
  notes?: string | undefined
  advisory?: AdvisoryInput | undefined
  mixedReason?: MixedReasonInput | undefined
}

export type NewRollout = {
  name: string
  releaseId?: Id | undefined
  with?: (Id)[] | undefined
  certificate?: CertificateWanted | undefined
  groupId: Id
  phases: ({
    percent?: number | undefined
    count?: number | undefined
    cohort?: Id | undefined
    seenWithin?: Duration | undefined
    rate?: RateInput | undefined
    success?: {
      percent?: number | undefined
      minExecuted?: number | undefined
      soak?: Span | undefined
      maxPutOff?: number | undefined
      within?: Span | undefined
    } | undefined
    hold?: boolean | undefined
  })[]
  query?: string | undefined
  abort?: AbortWanted | null | undefined
  limits?: Limits | null | undefined
  window?: WindowRuleInput | null | undefined
  ignoreWindows?: IgnoreWindowsInput | null | undefined
  approvals?: Approvals | undefined
  startAt?: StartAt | undefined
  priority?: number | null | undefined
  maxInFlight?: number | null | undefined
  bytesPerMinute?: number | null | undefined
  passQueue?: boolean | null | undefined
}

export type NewWebhook = {
  url: string
  description?: string | undefined
  types: ("device.registered" | "device.enrolled" | "device.state-changed" | "group.state-changed" | "certificate.issued" | "certificate.state-changed" | "certificate.expiring" | "deployment.ended" | "rollout.state-changed" | "release.published" | "release.withdrawn" | "security-event.raised" | "alert.raised" | "approval.needed" | "audit.recorded")[]
  groupIds?: (Id)[] | undefined
}

export type NoWanted = Record<string, never>

export type NoWayBack = {
  deviceId: string
  reason: "device-blocked" | "left-group" | "unknown-before" | "no-release" | "withdrawn" | "security-version" | "incompatible"
  releaseId: string | null
}

export type OnlineKeys = {
  image: {
    snapshot: {
      keytype: "ed25519"
      scheme: "ed25519"
      keyval: {
        public: string
      }
    }
    timestamp: {
      keytype: "ed25519"
      scheme: "ed25519"
      keyval: {
        public: string
      }
    }
  }
  director: {
    targets: {
      keytype: "ed25519"
      scheme: "ed25519"
      keyval: {
        public: string
      }
    }
    snapshot: {
      keytype: "ed25519"
      scheme: "ed25519"
      keyval: {
        public: string
      }
    }
    timestamp: {
      keytype: "ed25519"
      scheme: "ed25519"
      keyval: {
        public: string
      }
    }
  }
}

export type OnlineRotationWanted = {
  repository: "image" | "director"
  roles?: ("targets" | "snapshot" | "timestamp")[] | undefined
  again?: boolean | undefined
}

export type Opens = {
  open: boolean
  until: {
    at: Instant
    local: string
  } | null
  next: {
    at: Instant
    local: string
  } | null
}

export type Operator = {
  id: string
  name: string
  role: string
  grants: ({
    role: string
    permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
    groupIds: (Id)[]
  })[]
}

export type OperatorCertificate = {
  id: Id
  name: string
  fingerprint: string
  grants: ({
    role: string
    groupIds: (Id)[]
  })[]
  ownerId: Id | null
  notBefore: Instant
  notAfter: Instant
  createdBy: string
  createdAt: Instant
  lastUsedAt: Instant | null
  revokedAt: Instant | null
}

export type Origin = {
  address?: string | undefined
  credential?: string | undefined
  userAgent?: string | undefined
}

export type Override = {
  id: string
  deploymentId: string
  reason: string
  until: Instant
  inForce: boolean
  createdBy: string
  createdAt: Instant
  needed: number
  approveUntil: Instant | null
  approvedBy: (string)[]
  approvedAt: Instant | null
  revokedBy: string | null
  revokedAt: Instant | null
}

export type OverrideAction = {
  action: "approve" | "revoke"
}

export type OverrideWanted = {
  reason: string
  until: LocalInstant
}

export type Passkey = {
  id: Id
  name: string
  isSynced: boolean
  isBackedUp: boolean
  createdAt: Instant
  lastUsedAt: Instant | null
}

export type PasskeyOptions = {
  ticket: string
  expiresAt: Instant
  options: Record<string, unknown>
}

export type PasswordChangeWanted = {
  current?: string | undefined
  password: string
}

export type PastDeployment = {
  id: string
  rolloutId: string
  deviceId: string
  releaseId: string | null
  component: string
  phase: number
  state: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
  attempts: number
  progress: number | null
  code: string | null
  detail: string | null
  firstOfferedAt: Instant | null
  postponedUntil: Instant | null
  postponements: number
  createdAt: Instant
  changedAt: Instant
  rolloutName: string | null
  version: string | null
  said: ({
    state: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
    code: string | null
    detail: string | null
    at: Instant
  })[]
}

export type Penalty = {
  until: Instant | null
  why: "failed" | "tries" | null
  rolledBackFrom: ({
    releaseId: string
    component: string
    version: string
    build: number
    at: Instant
  })[]
}

export type PenaltyLift = {
  action: "lift"
  reason: string
  rolledBack?: boolean | undefined
}

export type PersonAccount = {
  hasPassword: boolean
  totpSince: Instant | null
  passkeys: (Passkey)[]
  recoveryCodesLeft: number
  personId: Id
  failures: number
  blockedUntil: Instant | null
  invitationExpiresAt: Instant | null
}

export type Profile = {
  id: Id
  name: string
  groupId: Id
  auth: {
    type: "token" | "certificate" | "claim"
    trustAnchors: ({
      subject: string
      sha256: string
    })[]
  }
  registration: "just-in-time" | "pre-registered"
  idPattern: string | null
  quota: number | null
  used: number
  quotaPerHour: number | null
  sourceNetworks: (string)[]
  pausedAt: Instant | null
  validFrom: Instant | null
  validUntil: Instant | null
  approval: "none" | "manual"
  replaceable: "off" | "same-key" | "on"
  webhook: {
    url: string
  } | null
  keyPolicy: (string)[]
  certificateDays: number
  managed: boolean
  issuerSeries: string | null
  createdAt: Instant
  version: number
}

export type ProfileAction = {
  action: "pause" | "resume"
  reason?: string | undefined
}

export type ProfileIssuerWanted = {
  series: SeriesName | null
}

export type ProfileMade = {
  id: Id
  name: string
  groupId: Id
  auth: {
    type: "token" | "certificate" | "claim"
    trustAnchors: ({
      subject: string
      sha256: string
    })[]
  }
  registration: "just-in-time" | "pre-registered"
  idPattern: string | null
  quota: number | null
  used: number
  quotaPerHour: number | null
  sourceNetworks: (string)[]
  pausedAt: Instant | null
  validFrom: Instant | null
  validUntil: Instant | null
  approval: "none" | "manual"
  replaceable: "off" | "same-key" | "on"
  webhook: {
    url: string
  } | null
  keyPolicy: (string)[]
  certificateDays: number
  managed: boolean
  issuerSeries: string | null
  createdAt: Instant
  version: number
  webhookSecret: string | null
}

export type Rate = {
  perMinute: number
} | {
  basePerMinute: number
  factor: number
  per: "admitted" | "succeeded"
  step: number
  maxPerMinute: number
}

export type RateInput = {
  perMinute: number
} | {
  basePerMinute: number
  factor: number
  per?: "admitted" | "succeeded" | undefined
  step: number
  maxPerMinute: number
}

export type RecoveryCodes = {
  recoveryCodes: (string)[]
}

export type Release = {
  id: Id
  model: string
  component: string
  version: string
  build: number
  svn: number
  class: "security" | "feature" | "config"
  artifactId: Id
  hardwareIds: (string)[]
  minPrevious: number | null
  requires: Record<string, number>
  fixes: (string)[]
  notes: string
  advisory: Advisory | null
  mixedReason: MixedReason | null
  state: "draft" | "submitted" | "published" | "withdrawn"
  metadataVersion: number | null
  createdBy: string
  createdAt: Instant
  publishedAt: Instant | null
}

export type ReleaseAction = {
  action: "submit" | "publish" | "withdraw"
}

export type ReleaseKeys = {
  keys: ({
    name: string
    keyid: string
    key: {
      keytype: string
      scheme: string
      keyval: {
        public: string
      }
    }
  })[]
}

export type ReleaseKeysWanted = {
  keys: ({
    name: string
    key: {
      keytype: "ed25519"
      scheme: "ed25519"
      keyval: {
        public: string
      }
    } | {
      keytype: "ml-dsa"
      scheme: "ml-dsa-44" | "ml-dsa-65" | "ml-dsa-87"
      keyval: {
        public: string
      }
    }
  })[]
}

export type Requires = Record<string, number>

export type Rollback = {
  devices: number
  back: ({
    releaseId: string
    component: string
    version: string
    build: number
    devices: number
  })[]
  cannot: ({
    reason: "device-blocked" | "left-group" | "unknown-before" | "no-release" | "withdrawn" | "security-version" | "incompatible"
    devices: number
    remedy: string
  })[]
}

export type Rollout = {
  id: string
  name: string
  releaseId: string | null
  certificate: CertificateTarget | null
  with: (string)[]
  groupId: string
  query: string | null
  priority: number
  maxInFlight: number | null
  bytesPerMinute: number | null
  passQueue: boolean
  window: RolloutWindow | null
  ignoreWindows: IgnoreWindows | null
  state: "draft" | "approved" | "running" | "paused" | "completed" | "failed" | "cancelled"
  phase: number
  reason: string | null
  abort: Abort
  limits: RolloutLimits
  waitsFor: "executed" | "contacts" | "share" | "choices" | "soak" | "hold" | "nothing" | "devices" | null
  phases: ({
    no: number
    percent: number | null
    count: number | null
    cohort: string | null
    seenWithin: string | null
    rate: Rate | null
    admitted: number
    success: {
      percent: number
      minExecuted: number
      soak: string | null
      maxPutOff: number | null
      within: string | null
    }
    hold: boolean
    openedAt: Instant | null
    soakUntil: Instant | null
    heldAt: Instant | null
    counts: Partial<Record<"queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost", number>>
    executed: number
    succeeded: number
  })[]
  counts: Partial<Record<"queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost", number>>
  executed: number
  succeeded: number
  failed: number
  approvals: RolloutApprovals
  definitionHash: string | null
  editedBy: string | null
  kind: "update" | "retry" | "rollback" | "certificate"
  parentId: string | null
  createdBy: string
  createdAt: Instant
  changedAt: Instant
  startAt: Instant | null
  startedAt: Instant | null
  endedAt: Instant | null
}

export type RolloutAction = {
  action: "approve" | "start" | "advance" | "pause" | "resume" | "cancel"
  reason?: string | undefined
  phase?: number | undefined
  definitionHash?: DefinitionHash | undefined
}

export type RolloutApprovals = {
  needed: number
  missing: number
  given: (Approval)[]
}

export type RolloutDerivation = {
  name?: string | undefined
}

export type RolloutEdit = {
  name?: string | undefined
  phases?: ({
    percent?: number | undefined
    count?: number | undefined
    cohort?: Id | undefined
    seenWithin?: Duration | undefined
    rate?: RateInput | undefined
    success?: {
      percent?: number | undefined
      minExecuted?: number | undefined
      soak?: Span | undefined
      maxPutOff?: number | undefined
      within?: Span | undefined
    } | undefined
    hold?: boolean | undefined
  })[] | undefined
  abort?: AbortWanted | null | undefined
  limits?: Limits | null | undefined
  window?: WindowRuleInput | null | undefined
  ignoreWindows?: IgnoreWindowsInput | null | undefined
  approvals?: Approvals | undefined
  startAt?: StartAt | undefined
  priority?: number | null | undefined
  maxInFlight?: number | null | undefined
  bytesPerMinute?: number | null | undefined
  passQueue?: boolean | null | undefined
  definitionHash?: DefinitionHash | undefined
  reason?: string | undefined
}

export type RolloutLimits = Partial<Record<"accepted" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "failed", string>>

export type RolloutPreview = {
  devices: number
  sampled: number | null
  eligible: number
  excluded: Record<string, number>
  phases: ({
    no: number
    percent: number | null
    devices: number
    says: string
  })[]
  exact: boolean
  estimate: {
    reachable: number
    halfDoneHours: number | null
    mostDoneHours: number | null
    admissionsPerHour: (number)[]
    bytes: number
    bytesPerHour: number
    waitsForPerson: (number)[]
    stopsAt: number | null
  }
  stops: ({
    rule: string
    executed: number
    failures: number | null
  })[]
}

export type RolloutPreviewQuestion = {
  rolloutId: Id
} | {
  name?: string | undefined
  releaseId: Id
  with?: (Id)[] | undefined
  certificate?: unknown | undefined
  groupId: Id
  phases: ({
    percent?: number | undefined
    count?: number | undefined
    cohort?: Id | undefined
    seenWithin?: Duration | undefined
    rate?: RateInput | undefined
    success?: {
      percent?: number | undefined
      minExecuted?: number | undefined
      soak?: Span | undefined
      maxPutOff?: number | undefined
      within?: Span | undefined
    } | undefined
    hold?: boolean | undefined
  })[]
  query?: string | undefined
  abort?: AbortWanted | null | undefined
  limits?: Limits | null | undefined
  window?: WindowRuleInput | null | undefined
  ignoreWindows?: IgnoreWindowsInput | null | undefined
  approvals?: Approvals | undefined
  startAt?: StartAt | undefined
  priority?: number | null | undefined
  maxInFlight?: number | null | undefined
  bytesPerMinute?: number | null | undefined
  passQueue?: boolean | null | undefined
}

export type RolloutResult = {
  deviceId: string
  serialNumber: string | null
  phase: number
  state: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost"
  code: string | null
  detail: string | null
  attempts: number
  component: string
  admittedAt: Instant
  firstOfferedAt: Instant | null
  startedAt: Instant | null
  endedAt: Instant | null
  fromBuild: number | null
  toBuild: number | null
  deploymentId: string
}

export type RolloutWindow = {
  cron?: string | undefined
  weekly?: {
    days: ("mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun")[]
    at: string
  } | undefined
  duration: string
  zone: string
  blackout: Blackouts
  until?: string | undefined
  hardClose: boolean
  opens: Opens
}

export type RootCrl = {
  number: number
  thisUpdate: Instant
  nextUpdate: Instant
  revoked: (Id)[]
}

export type RootCrlWanted = {
  crl: string
}

export type RootFileWanted = {
  file: string
}

export type RotateApiKeyWanted = {
  overlapHours?: number | undefined
}

export type ScepPolicy = {
  enabled: boolean
  allowSha1: boolean
  allowTripleDes: boolean
  allowBer: boolean
  url: string
  changedAt: Instant | null
  version: number
}

export type ScepPolicyWanted = {
  enabled: boolean
  allowSha1?: boolean | undefined
  allowTripleDes?: boolean | undefined
  allowBer?: boolean | undefined
}

export type SecurityEvent = {
  id: Id
  at: Instant
  source: "server" | "device"
  kind: string
  severity: "info" | "warning" | "critical"
  deviceId: Id | null
  facts: Record<string, unknown>
}

export type Self = {
  person: {
    id: Id
    name: string
    email: string | null
  }
  session: {
    id: Id
    stepUpUntil: Instant
  }
  credentials: Credentials | null
}

export type SeriesName = string

export type SetUp = {
  personId: Id
  name: string
  sessionId: Id
  recoveryCodesLeft: number | null
  recoveryCodes: (string)[]
}

export type Settings = {
  id: Id
  deviceId: Id
  revision: number
  settings: Record<string, unknown>
  state: "wanted" | "applied" | "refused" | "reverted" | "replaced"
  code: string | null
  detail: string | null
  createdBy: string
  createdAt: Instant
  changedAt: Instant
}

export type SettingsWanted = {
  settings: Record<string, unknown>
}

export type SignInTicket = {
  ticket: string
  expiresAt: Instant
  kinds: ("passkey" | "totp" | "recovery-code")[]
}

export type SignInTicketShown = {
  ticket: string
}

export type SignInWays = {
  passkey: boolean
  hasCookie: boolean
  oidcUrl: string | null
}

export type SignInWithFactor = {
  ticket: string
  kind: "totp"
  code: string
} | {
  ticket: string
  kind: "recovery-code"
  code: string
} | {
  ticket: string
  kind: "passkey"
  response: {
    id: string
    rawId: string
    type: "public-key"
    authenticatorAttachment?: "platform" | "cross-platform" | null | undefined
    clientExtensionResults: Record<string, unknown>
    response: {
      authenticatorData: string
      clientDataJSON: string
      signature: string
      userHandle?: string | undefined
    }
  }
}

export type SignInWithPassword = {
  email: string
  password: string
}

export type SignedIn = {
  personId: Id
  name: string
  sessionId: Id
  recoveryCodesLeft: number | null
}

export type Span = string

export type StartAt = LocalInstant | null

export type StepUpOptions = {
  kinds: ("passkey" | "totp" | "recovery-code" | "oidc")[]
  passkey: PasskeyOptions | null
  oidcUrl: string | null
}

export type StepUpWanted = {
  kind: "totp"
  code: string
} | {
  kind: "recovery-code"
  code: string
} | {
  ticket: string
  kind: "passkey"
  response: {
    id: string
    rawId: string
    type: "public-key"
    authenticatorAttachment?: "platform" | "cross-platform" | null | undefined
    clientExtensionResults: Record<string, unknown>
    response: {
      authenticatorData: string
      clientDataJSON: string
      signature: string
      userHandle?: string | undefined
    }
  }
}

export type SteppedUp = {
  stepUpUntil: Instant
}

export type TotpOffer = {
  secret: string
  uri: string
  ticket: string
  expiresAt: Instant
}

export type TotpSetup = {
  secret: string
  uri: string
}

export type Webhook = {
  id: Id
  url: string
  description: string
  types: (string)[]
  groupIds: (Id)[]
  state: "active" | "disabled"
  disabledBecause: "operator" | "gone" | "failing" | null
  failingSince: Instant | null
  retryAt: Instant | null
  waiting: number
  deadLetters: number
  missed: number
  previousUntil: Instant | null
  createdBy: string
  createdAt: Instant
  changedAt: Instant
  version: number
}

export type WebhookAction = {
  action: "enable" | "disable" | "test" | "rotate-secret"
  overlapHours?: number | undefined
}

export type WebhookChange = {
  url?: string | undefined
  description?: string | undefined
  types?: ("device.registered" | "device.enrolled" | "device.state-changed" | "group.state-changed" | "certificate.issued" | "certificate.state-changed" | "certificate.expiring" | "deployment.ended" | "rollout.state-changed" | "release.published" | "release.withdrawn" | "security-event.raised" | "alert.raised" | "approval.needed" | "audit.recorded")[] | undefined
  groupIds?: (Id)[] | undefined
}

export type WebhookDelivery = {
  id: Id
  eventId: Id
  type: string
  subject: string
  deviceId: Id | null
  at: Instant
  state: "pending" | "delivered" | "dead"
  attempts: number
  dueAt: Instant | null
  lastStatus: number | null
  lastError: string | null
  endedAt: Instant | null
}

export type WebhookReplay = {
  eventId: Id
} | {
  deadLetters: true
} | {
  from: Instant
  until?: Instant | undefined
}

export type WebhookReplayed = {
  replayed: number
}

export type WebhookWithSecret = {
  id: Id
  url: string
  description: string
  types: (string)[]
  groupIds: (Id)[]
  state: "active" | "disabled"
  disabledBecause: "operator" | "gone" | "failing" | null
  failingSince: Instant | null
  retryAt: Instant | null
  waiting: number
  deadLetters: number
  missed: number
  previousUntil: Instant | null
  createdBy: string
  createdAt: Instant
  changedAt: Instant
  version: number
  secret: string | null
}

export type WindowRule = {
  cron?: string | undefined
  weekly?: {
    days: ("mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun")[]
    at: string
  } | undefined
  duration: string
  zone: string
  blackout: Blackouts
  until?: string | undefined
  hardClose: boolean
}

export type WindowRuleInput = {
  cron?: string | undefined
  weekly?: {
    days: ("mon" | "tue" | "wed" | "thu" | "fri" | "sat" | "sun")[]
    at: string
  } | undefined
  duration: string
  zone: string
  blackout?: Blackouts | undefined
  until?: string | undefined
  hardClose?: boolean | undefined
}

/** Where a POST creates something, once for each `Idempotency-Key`. */
export const creating: ReadonlySet<string> = new Set([
'/api-keys',
'/api-keys/{keyId}/rotation',
'/operator-certificates',
'/people/{personId}/invitations',
'/roles',
'/people',
'/workloads',
'/authorities',
'/authorities/roots',
'/authority-requests',
'/groups',
'/devices',
'/enrollment-profiles',
'/enrollment-profiles/{profileId}/tokens',
'/enrollment-profiles/{profileId}/claims',
'/enrollment-profiles/{profileId}/batches',
'/enrollment-profiles/{profileId}/scep-challenges',
'/devices/{deviceId}/key-bundles',
'/models',
'/releases',
'/rollouts',
'/rollouts/{rolloutId}/retry',
'/rollouts/{rolloutId}/rollback',
'/blackouts',
'/deployments/{deploymentId}/overrides',
'/audit/keys',
'/webhooks',
'/alert-rules',
'/alert-channels',
])

/** Every call, by path and method. */
export interface paths {
  '/operators/me': {
    /** Who the API key of this request belongs to */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Operator }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/api-keys': {
    /** Make an API key; its secret is in this answer and nowhere else */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewApiKey } }
      responses: {
        201: Answered<{ 'application/json': ApiKeyMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** API keys, newest first, revoked ones too */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (ApiKey)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/api-keys/{keyId}/rotation': {
    /** Make the secret of an API key anew; the present one works on for a while */
    post: {
      parameters: { query?: never; path: { keyId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': RotateApiKeyWanted } }
      responses: {
        201: Answered<{ 'application/json': ApiKeyMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/api-keys/{keyId}': {
    /** Revoke an API key; the last valid admin key is refused */
    delete: {
      parameters: { query?: never; path: { keyId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/operator-certificates': {
    /** Certificates that open the interface, newest first, revoked ones too */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (OperatorCertificate)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Register a certificate: whoever holds its key may call, with one role */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewOperatorCertificate } }
      responses: {
        201: Answered<{ 'application/json': OperatorCertificate }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/operator-certificates/{certificateId}': {
    /** Revoke a certificate, on connections that are open too */
    delete: {
      parameters: { query?: never; path: { certificateId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}/invitations': {
    /** A link to take a local account, once, within 72 hours; resets an account in use */
    post: {
      parameters: { query?: never; path: { personId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        201: Answered<{ 'application/json': InvitationMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}/account': {
    /** What somebody signs in with, and whether failed attempts keep them out */
    get: {
      parameters: { query?: never; path: { personId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': PersonAccount }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}/unlock': {
    /** Forget the failed attempts on an account */
    post: {
      parameters: { query?: never; path: { personId: Id }; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': PersonAccount }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self': {
    /** Who is signed in, and with what */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Self }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/password': {
    /** Another password; all other sessions end */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': PasswordChangeWanted } }
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/totp': {
    /** The secret for an authenticator app; kept once a code of it was shown */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': TotpOffer }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Take the authenticator app away */
    delete: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/passkeys': {
    /** What a browser needs to make another passkey */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': PasskeyOptions }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/passkeys/{passkeyId}': {
    /** Take a passkey away */
    delete: {
      parameters: { query?: never; path: { passkeyId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/factors': {
    /** Show the new app or passkey: it is added */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': FirstFactor } }
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/recovery-codes': {
    /** Ten new recovery codes, shown once; those before are void */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': RecoveryCodes }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/step-up/options': {
    /** What the person of this session can show as a second factor */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': StepUpOptions }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/step-up': {
    /** Show a second factor again; the session goes on under another cookie */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': StepUpWanted } }
      responses: {
        200: Answered<{ 'application/json': SteppedUp }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/sessions': {
    /** Where the caller is signed in, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              id: Id
              method: "oidc" | "password" | "passkey"
              createdAt: Instant
              lastSeenAt: Instant
              expiresAt: Instant
              provenAt: Instant
              address: string
              userAgent: string
              endedAt: Instant | null
              endedReason: "signed-out" | "by-administrator" | "by-person" | "by-provider" | "person-disabled" | "too-many" | "credentials-changed" | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** End all other sessions of the caller */
    delete: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/self/sessions/{sessionId}': {
    /** End one session of the caller */
    delete: {
      parameters: { query?: never; path: { sessionId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/permissions': {
    /** What somebody can be allowed to do, and the roles that are */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              permission: "approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write"
              roles: (string)[]
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/roles': {
    /** All roles: those that are always there, then those of your own */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              name: string
              description: string
              builtIn: boolean
              permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
              groupIds: (Id)[]
              holders: number
              createdBy: string | null
              createdAt: Instant | null
              changedAt: Instant | null
              version: number | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make a role of your own; it can do nothing that you cannot */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': {
            name: string
            description?: string | undefined
            permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
            groupIds?: (Id)[] | undefined
          } } }
      responses: {
        201: Answered<{ 'application/json': {
            name: string
            description: string
            builtIn: boolean
            permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
            groupIds: (Id)[]
            holders: number
            createdBy: string | null
            createdAt: Instant | null
            changedAt: Instant | null
            version: number | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        409: Refused<"approval-needed" | "conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/roles/{name}': {
    /** One role */
    get: {
      parameters: { query?: never; path: { name: string }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            name: string
            description: string
            builtIn: boolean
            permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
            groupIds: (Id)[]
            holders: number
            createdBy: string | null
            createdAt: Instant | null
            changedAt: Instant | null
            version: number | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Change what a role of your own may do, for all who have it */
    put: {
      parameters: { query?: never; path: { name: string }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': {
            description?: string | undefined
            permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
            groupIds?: (Id)[] | undefined
          } } }
      responses: {
        200: Answered<{ 'application/json': {
            name: string
            description: string
            builtIn: boolean
            permissions: ("approvals:decide" | "approvals:read" | "alerts:handle" | "alerts:manage" | "alerts:read" | "artifacts:read" | "artifacts:write" | "audit:manage" | "audit:read" | "authorities:manage" | "authorities:read" | "backups:create" | "backups:read" | "certificates:read" | "certificates:revoke" | "deployments:override" | "deployments:read" | "devices:credentials" | "devices:disable" | "devices:read" | "devices:revoke" | "devices:write" | "enrollment:approve" | "enrollment:read" | "enrollment:write" | "events:read" | "groups:disable" | "groups:read" | "groups:write" | "metadata:manage" | "metadata:read" | "metadata:sign" | "models:read" | "models:write" | "operators:manage" | "operators:read" | "releases:publish" | "releases:read" | "releases:write" | "rollouts:approve" | "rollouts:control" | "rollouts:read" | "rollouts:write" | "self:read" | "self:write" | "server:read" | "settings:read" | "settings:write" | "transparency:read" | "webhooks:manage" | "webhooks:read" | "windows:read" | "windows:write")[]
            groupIds: (Id)[]
            holders: number
            createdBy: string | null
            createdAt: Instant | null
            changedAt: Instant | null
            version: number | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Remove a role that nobody has */
    delete: {
      parameters: { query?: never; path: { name: string }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/grants': {
    /** Who has which roles, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; role?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              principal: string
              name: string
              active: boolean
              grants: ({
                role: string
                groupIds: (Id)[]
              })[]
              version: string
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/grants/{principal}': {
    /** Which roles somebody has, and where */
    get: {
      parameters: { query?: never; path: { principal: string }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            principal: string
            name: string
            active: boolean
            grants: ({
              role: string
              groupIds: (Id)[]
            })[]
            version: string
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Say which roles somebody has, and where, from the next request on; nobody gives what he has not */
    put: {
      parameters: { query?: never; path: { principal: string }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': {
            grants: ({
              role: string
              groupIds?: (Id)[] | undefined
            })[]
          } } }
      responses: {
        200: Answered<{ 'application/json': {
            principal: string
            name: string
            active: boolean
            grants: ({
              role: string
              groupIds: (Id)[]
            })[]
            version: string
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/approvals': {
    /** What people want to do that takes others to agree, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; state?: "open" | "rejected" | "withdrawn" | "used" | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              id: Id
              kind: "publication" | "rollout-start" | "override" | "group-disable" | "role-change"
              subject: string
              groupId: Id | null
              asked: Record<string, unknown>
              author: string
              state: "open" | "rejected" | "withdrawn" | "used" | "expired"
              needed: number
              approvals: ({
                by: string
                reason: string | null
                at: Instant
              })[]
              hash: string
              createdAt: Instant
              expiresAt: Instant
              endedAt: Instant | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/approvals/{approvalId}': {
    /** One of them, with who agreed */
    get: {
      parameters: { query?: never; path: { approvalId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            id: Id
            kind: "publication" | "rollout-start" | "override" | "group-disable" | "role-change"
            subject: string
            groupId: Id | null
            asked: Record<string, unknown>
            author: string
            state: "open" | "rejected" | "withdrawn" | "used" | "expired"
            needed: number
            approvals: ({
              by: string
              reason: string | null
              at: Instant
            })[]
            hash: string
            createdAt: Instant
            expiresAt: Instant
            endedAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/approvals/{approvalId}/actions': {
    /** Agree, refuse, or take back what one asked for; who agrees may do the thing himself */
    post: {
      parameters: { query?: never; path: { approvalId: Id }; header?: never }
      requestBody: { content: { 'application/json': {
            action: "approve" | "reject" | "withdraw"
            reason?: string | undefined
          } } }
      responses: {
        200: Answered<{ 'application/json': {
            id: Id
            kind: "publication" | "rollout-start" | "override" | "group-disable" | "role-change"
            subject: string
            groupId: Id | null
            asked: Record<string, unknown>
            author: string
            state: "open" | "rejected" | "withdrawn" | "used" | "expired"
            needed: number
            approvals: ({
              by: string
              reason: string | null
              at: Instant
            })[]
            hash: string
            createdAt: Instant
            expiresAt: Instant
            endedAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/approval-policies': {
    /** How many others have to agree to what */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              kind: "publication" | "rollout-start" | "override" | "group-disable" | "role-change"
              needed: number
              expiresHours: number
              changedBy: string | null
              changedAt: Instant | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/approval-policies/{kind}': {
    /** Say how many others have to agree; that takes what a change of roles takes */
    put: {
      parameters: { query?: never; path: { kind: "publication" | "rollout-start" | "override" | "group-disable" | "role-change" }; header?: never }
      requestBody: { content: { 'application/json': {
            needed: number
            expiresHours?: number | undefined
          } } }
      responses: {
        200: Answered<{ 'application/json': {
            kind: "publication" | "rollout-start" | "override" | "group-disable" | "role-change"
            needed: number
            expiresHours: number
            changedBy: string | null
            changedAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people': {
    /** People, newest first, disabled ones too */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              id: Id
              principal: string
              name: string
              email: string | null
              state: "active" | "disabled"
              provider: {
                issuer: string
                subject: string
              } | null
              createdBy: string
              createdAt: Instant
              disabledAt: Instant | null
              lastSignInAt: Instant | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make a local account; it signs in once it was invited */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': {
            name: string
            email: string
            grants?: ({
              role: string
              groupIds?: (Id)[] | undefined
            })[] | undefined
          } } }
      responses: {
        201: Answered<{ 'application/json': {
            id: Id
            principal: string
            name: string
            email: string | null
            state: "active" | "disabled"
            provider: {
              issuer: string
              subject: string
            } | null
            createdBy: string
            createdAt: Instant
            disabledAt: Instant | null
            lastSignInAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}': {
    /** One person */
    get: {
      parameters: { query?: never; path: { personId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            id: Id
            principal: string
            name: string
            email: string | null
            state: "active" | "disabled"
            provider: {
              issuer: string
              subject: string
            } | null
            createdBy: string
            createdAt: Instant
            disabledAt: Instant | null
            lastSignInAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Another name or address of a local account */
    patch: {
      parameters: { query?: never; path: { personId: Id }; header?: never }
      requestBody: { content: { 'application/json': {
            name?: string | undefined
            email?: string | undefined
          } } }
      responses: {
        200: Answered<{ 'application/json': {
            id: Id
            principal: string
            name: string
            email: string | null
            state: "active" | "disabled"
            provider: {
              issuer: string
              subject: string
            } | null
            createdBy: string
            createdAt: Instant
            disabledAt: Instant | null
            lastSignInAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}/actions': {
    /** Disable somebody, at once and with all sessions, keys and certificates; or enable again */
    post: {
      parameters: { query?: never; path: { personId: Id }; header?: never }
      requestBody: { content: { 'application/json': {
            action: "disable" | "enable"
            reason: string
          } } }
      responses: {
        200: Answered<{ 'application/json': {
            id: Id
            principal: string
            name: string
            email: string | null
            state: "active" | "disabled"
            provider: {
              issuer: string
              subject: string
            } | null
            createdBy: string
            createdAt: Instant
            disabledAt: Instant | null
            lastSignInAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}/sessions': {
    /** Sessions of somebody, newest first, ended ones of the last days too */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { personId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              id: Id
              method: "oidc" | "password" | "passkey"
              createdAt: Instant
              lastSeenAt: Instant
              expiresAt: Instant
              provenAt: Instant
              address: string
              userAgent: string
              endedAt: Instant | null
              endedReason: "signed-out" | "by-administrator" | "by-person" | "by-provider" | "person-disabled" | "too-many" | "credentials-changed" | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** End all sessions of somebody */
    delete: {
      parameters: { query?: never; path: { personId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/people/{personId}/sessions/{sessionId}': {
    /** End one session of somebody */
    delete: {
      parameters: { query?: never; path: { personId: Id; sessionId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/workloads': {
    /** Whose tokens may call instead of a stored secret, newest first, removed ones too */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: ({
              id: Id
              principal: string
              name: string
              issuer: string
              audience: string
              subject: string
              claims: Record<string, string>
              grants: ({
                role: string
                groupIds: (Id)[]
              })[]
              createdBy: string
              createdAt: Instant
              lastUsedAt: Instant | null
              removedAt: Instant | null
            })[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Trust the tokens that an issuer gives to one of its projects, for one role */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': {
            name: string
            issuer: string
            audience: string
            subject: string
            claims?: Record<string, string> | undefined
            role: string
            groupIds?: (Id)[] | undefined
          } } }
      responses: {
        201: Answered<{ 'application/json': {
            id: Id
            principal: string
            name: string
            issuer: string
            audience: string
            subject: string
            claims: Record<string, string>
            grants: ({
              role: string
              groupIds: (Id)[]
            })[]
            createdBy: string
            createdAt: Instant
            lastUsedAt: Instant | null
            removedAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        409: Refused<"approval-needed" | "conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/workloads/{workloadId}': {
    /** One workload identity */
    get: {
      parameters: { query?: never; path: { workloadId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            id: Id
            principal: string
            name: string
            issuer: string
            audience: string
            subject: string
            claims: Record<string, string>
            grants: ({
              role: string
              groupIds: (Id)[]
            })[]
            createdBy: string
            createdAt: Instant
            lastUsedAt: Instant | null
            removedAt: Instant | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Trust these tokens no more */
    delete: {
      parameters: { query?: never; path: { workloadId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authorities': {
    /** Certificate authorities, newest first, retired ones too */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Authority)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make an authority that is to take over: accepted at once, issuing when it is activated */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewAuthority } }
      responses: {
        201: Answered<{ 'application/json': Authority }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authorities/{authorityId}': {
    /** One certificate authority */
    get: {
      parameters: { query?: never; path: { authorityId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Authority }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authorities/{authorityId}/actions': {
    /** Let an authority issue from now on, retire it, or destroy the key of a retired one */
    post: {
      parameters: { query?: never; path: { authorityId: Id }; header?: never }
      requestBody: { content: { 'application/json': AuthorityAction } }
      responses: {
        200: Answered<{ 'application/json': Authority }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authorities/roots': {
    /** Take a root whose key stays elsewhere, with the certificates that connect it to the active one */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': RootFileWanted } }
      responses: {
        201: Answered<{ 'application/json': Authority }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authority-requests': {
    /** Requests to the root that wait for an answer, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (AuthorityRequest)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make the key of an authority and the file that asks the root to certify it */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewAuthorityRequest } }
      responses: {
        201: Answered<{ 'application/json': AuthorityRequest }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authority-requests/{requestId}': {
    /** One request to the root */
    get: {
      parameters: { query?: never; path: { requestId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': AuthorityRequest }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Give up a request to the root, with its key */
    delete: {
      parameters: { query?: never; path: { requestId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authority-requests/{requestId}/answer': {
    /** Give the root's answer to a request: the authority is there from then on */
    post: {
      parameters: { query?: never; path: { requestId: Id }; header?: never }
      requestBody: { content: { 'application/json': AuthorityRequestAnswer } }
      responses: {
        200: Answered<{ 'application/json': Authority }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/key-encryption-key': {
    /** When the key that wraps all keys was changed, and whether the one before is still kept */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Kek }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/key-encryption-key/actions': {
    /** Replace the key that wraps all keys, or remove the one before */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': KekAction } }
      responses: {
        200: Answered<{ 'application/json': Kek }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/groups': {
    /** Groups, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; name?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Group)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make a group; with a query, one whose members the server keeps */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewGroup } }
      responses: {
        201: Answered<{ 'application/json': Group }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/groups/{groupId}': {
    /** One group */
    get: {
      parameters: { query?: never; path: { groupId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Group }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Rename or describe a group, or change its query */
    patch: {
      parameters: { query?: never; path: { groupId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': ChangeGroup } }
      responses: {
        200: Answered<{ 'application/json': Group }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Remove a group that nothing uses */
    delete: {
      parameters: { query?: never; path: { groupId: Id }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/groups/{groupId}/devices/{deviceId}': {
    /** Put a device into a group */
    put: {
      parameters: { query?: never; path: { groupId: Id; deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Take a device out of a group */
    delete: {
      parameters: { query?: never; path: { groupId: Id; deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/groups/{groupId}/actions': {
    /** Cut off every device of a group, or let them back */
    post: {
      parameters: { query?: never; path: { groupId: Id }; header?: never }
      requestBody: { content: { 'application/json': GroupAction } }
      responses: {
        202: Answered<{ 'application/json': Group }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict" | "illegal-transition">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/summary': {
    /** How many devices there are, by state */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': DeviceSummary }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices': {
    /** Devices, newest first; query is a question, or a piece of the name or serial number */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; query?: string | undefined; groupId?: Id | undefined; state?: "registered" | "active" | "disabled" | "revoked" | "retired" | undefined; connected?: "true" | "false" | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Device)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Register a device before it enrolls */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewDevice } }
      responses: {
        201: Answered<{ 'application/json': Device }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}': {
    /** One device: what it is, runs and belongs to, and its certificate */
    get: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Device }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/actions': {
    /** Cut a device off, let it back, revoke or retire it; in force when this answers */
    post: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody: { content: { 'application/json': DeviceAction } }
      responses: {
        200: Answered<{ 'application/json': Device }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/penalty': {
    /** Until when a device that failed is offered nothing new, and what never again */
    get: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Penalty }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/penalty/actions': {
    /** Lift it: the device is offered again what it may have, at once */
    post: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody: { content: { 'application/json': PenaltyLift } }
      responses: {
        200: Answered<{ 'application/json': Penalty }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/devices/{deviceId}/explanation': {
    /** Why a device does or does not get what a rollout gives out, and what would change it */
    get: {
      parameters: { query?: never; path: { rolloutId: Id; deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Explanation }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/explanations': {
    /** The same for every rollout that concerns a device, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Explanation)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles': {
    /** Enrollment profiles, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Profile)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make an enrollment profile: who may enroll, how, and into which group */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewProfile } }
      responses: {
        201: Answered<{ 'application/json': ProfileMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}': {
    /** One enrollment profile */
    get: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Profile }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/actions': {
    /** Pause a profile, so that nobody enrolls, or resume it */
    post: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody: { content: { 'application/json': ProfileAction } }
      responses: {
        200: Answered<{ 'application/json': Profile }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/tokens': {
    /** Tokens of a profile, without their secrets, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (EnrollmentToken)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make an enrollment token; its secret is shown once */
    post: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewEnrollmentToken } }
      responses: {
        201: Answered<{ 'application/json': EnrollmentTokenMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/tokens/{tokenId}': {
    /** End a token; certificates issued with it stay */
    delete: {
      parameters: { query?: never; path: { profileId: Id; tokenId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/issuer': {
    /** Whose authority issues to the devices of a profile, from their next certificate on */
    put: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': ProfileIssuerWanted } }
      responses: {
        200: Answered<{ 'application/json': Profile }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/credentials': {
    /** Certificates that opened, or open, a profile, and how often; newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Credential)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/claims': {
    /** Register a claim certificate, or have one issued: its holder may enroll so many devices */
    post: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewClaim } }
      responses: {
        201: Answered<{ 'application/json': ClaimMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-requests': {
    /** Requests that wait, or waited, to be approved; newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; profileId?: Id | undefined; state?: "pending" | "approved" | "denied" | "issued" | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (EnrollmentRequest)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-requests/{requestId}': {
    /** One enrollment request */
    get: {
      parameters: { query?: never; path: { requestId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': EnrollmentRequest }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-requests/{requestId}/actions': {
    /** Approve or deny a request; the device gets its certificate when it asks again */
    post: {
      parameters: { query?: never; path: { requestId: Id }; header?: never }
      requestBody: { content: { 'application/json': EnrollmentRequestAction } }
      responses: {
        200: Answered<{ 'application/json': EnrollmentRequest }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/registrations': {
    /** Register devices from CSV (text/csv, streamed): serialNumber, name; an error per row */
    post: {
      parameters: { query?: { dryRun?: "true" | "false" | undefined }; path: { profileId: Id }; header?: never }
      requestBody: { content: { 'text/csv': Blob } }
      responses: {
        200: Answered<{ 'application/json': Import }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/batches': {
    /** Issue certificates for a CSV file (column csr) or a ZIP of requests, as a job */
    post: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'text/csv': Blob; 'application/zip': Blob } }
      responses: {
        201: Answered<{ 'application/json': Batch }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-batches': {
    /** Files of requests and how far they are, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Batch)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-batches/{batchId}': {
    /** How far a file of requests is */
    get: {
      parameters: { query?: never; path: { batchId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Batch }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-batches/{batchId}/rows': {
    /** What came of each row, in the order of the file, with its certificate */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { batchId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (BatchRow)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/est': {
    /** How the devices of a profile renew and speak EST */
    get: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': EstPolicy }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Set how the devices of a profile renew and speak EST; what is left out has its default */
    put: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': EstPolicyWanted } }
      responses: {
        200: Answered<{ 'application/json': EstPolicy }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/scep': {
    /** Whether the devices of a profile may enroll by SCEP, and how */
    get: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': ScepPolicy }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Let the devices of a profile enroll by SCEP, or no longer */
    put: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': ScepPolicyWanted } }
      responses: {
        200: Answered<{ 'application/json': ScepPolicy }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/scep-challenges': {
    /** SCEP challenges of a profile, without their secrets, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Challenge)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make a SCEP challenge for one device; it is shown once and works once */
    post: {
      parameters: { query?: never; path: { profileId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewChallenge } }
      responses: {
        201: Answered<{ 'application/json': ChallengeMade }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/scep-challenges/{challengeId}': {
    /** End a SCEP challenge; a certificate issued with it stays */
    delete: {
      parameters: { query?: never; path: { profileId: Id; challengeId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/key-bundles': {
    /** Make key and certificate for a device that cannot, as PKCS #12; shown once */
    post: {
      parameters: { query?: never; path: { deviceId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': KeyBundleWanted } }
      responses: {
        201: Answered<{ 'application/json': KeyBundle }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/certificates': {
    /** Certificates of a device, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Certificate)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/certificates/{certificateId}': {
    /** One certificate */
    get: {
      parameters: { query?: never; path: { certificateId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Certificate }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/certificates/{certificateId}/actions': {
    /** Revoke a certificate for good, hold or release it; on the CRL when this answers */
    post: {
      parameters: { query?: never; path: { certificateId: Id }; header?: never }
      requestBody: { content: { 'application/json': CertificateAction } }
      responses: {
        200: Answered<{ 'application/json': Certificate }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/authorities/{authorityId}/crl': {
    /** Publish the list of a root whose key is elsewhere: what fleetseal ceremony crl made */
    post: {
      parameters: { query?: never; path: { authorityId: Id }; header?: never }
      requestBody: { content: { 'application/json': RootCrlWanted } }
      responses: {
        200: Answered<{ 'application/json': RootCrl }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/artifacts': {
    /** Upload bytes (application/octet-stream, streamed); the same bytes give the same id */
    put: {
      parameters: { query: { name: string }; path?: never; header?: never }
      requestBody: { content: { 'application/octet-stream': Blob } }
      responses: {
        201: Answered<{ 'application/json': Artifact }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
        507: Refused<"storage-full">
      }
    }
    /** Uploaded artifacts, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Artifact)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/artifacts/{artifactId}': {
    /** One artifact: its hash, size and name */
    get: {
      parameters: { query?: never; path: { artifactId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Artifact }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/models': {
    /** Make a device model with the hardware ids its firmware may be for */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewModel } }
      responses: {
        201: Answered<{ 'application/json': Model }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Device models, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Model)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/models/{model}': {
    /** One device model, by id or name */
    get: {
      parameters: { query?: never; path: { model: string }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Model }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/models/{model}/policy': {
    /** How owners of a model's devices choose about updates: all of the rules at once */
    put: {
      parameters: { query?: never; path: { model: string }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': ModelPolicyWanted } }
      responses: {
        200: Answered<{ 'application/json': Model }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/models/{model}/ddi': {
    /** How devices of a model poll (hawkBit DDI) */
    get: {
      parameters: { query?: never; path: { model: string }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': DdiProduct }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Let devices of a model poll (hawkBit DDI): by which client, and what proves an update */
    put: {
      parameters: { query?: never; path: { model: string }; header?: never }
      requestBody: { content: { 'application/json': DdiProductWanted } }
      responses: {
        200: Answered<{ 'application/json': DdiProduct }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/enrollment-profiles/{profileId}/ddi': {
    /** What the polling devices of an enrollment profile are */
    get: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': DdiLine }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Say what the devices of an enrollment profile are, since a polling device says no hello */
    put: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody: { content: { 'application/json': DdiLineWanted } }
      responses: {
        200: Answered<{ 'application/json': DdiLine }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** New devices of an enrollment profile poll no more */
    delete: {
      parameters: { query?: never; path: { profileId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/ddi': {
    /** What a polling device is shown now, and why; its last words */
    get: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': DdiDevice }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Record what a polling device calls itself, where that is not its id */
    put: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody: { content: { 'application/json': ControllerWanted } }
      responses: {
        200: Answered<{ 'application/json': DdiDevice }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/ddi/token': {
    /** Let a device that cannot show a certificate poll with a token: a weakness */
    post: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody: { content: { 'application/json': DdiTokenWanted } }
      responses: {
        200: Answered<{ 'application/json': DdiToken }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** The token of a device counts no more */
    delete: {
      parameters: { query?: never; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata': {
    /** Roles of both repositories: what is published, until when, and what waits for signatures */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': MetadataRoles }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata/online-keys': {
    /** Public keys of the roles that the server signs; "fleetseal sign init" writes them into the roots */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': OnlineKeys }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata/roots': {
    /** Begin both repositories with the public.json of "fleetseal sign init"; once */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': MetadataRoots } }
      responses: {
        201: Answered<{ 'application/json': MetadataRootsTaken }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "step-up-needed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"signature-invalid">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata/online-keys/rotation': {
    /** Make the next online keys of a repository and draft the root that names them; used once that is published */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': OnlineRotationWanted } }
      responses: {
        200: Answered<{ 'application/json': MetadataDraft }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata/release-keys': {
    /** Public keys that may sign releases, of which two have to */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': ReleaseKeys }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Name all keys that may sign releases, and draft the targets that delegates every model to them */
    put: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': ReleaseKeysWanted } }
      responses: {
        200: Answered<{ 'application/json': ReleaseKeys }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"signature-invalid">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata/{role}/draft': {
    /** The next version of a role, with all that the offline signer needs to judge it */
    get: {
      parameters: { query?: never; path: { role: string }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': MetadataDraft }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Draft the next version with the same content, to be signed before the published one expires */
    post: {
      parameters: { query?: never; path: { role: string }; header?: never }
      requestBody: { content: { 'application/json': MetadataRenewal } }
      responses: {
        201: Answered<{ 'application/json': MetadataDraft }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/metadata/{role}/{version}/signatures': {
    /** Send signatures of the offline signer; at the threshold roots, targets and withdrawals are published */
    post: {
      parameters: { query?: never; path: { role: string; version: string }; header?: never }
      requestBody: { content: { 'application/json': MetadataSignatures } }
      responses: {
        200: Answered<{ 'application/json': MetadataSigned }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"signature-invalid">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/releases': {
    /** Draft a release of one component of a model */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewRelease } }
      responses: {
        201: Answered<{ 'application/json': Release }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Releases, newest first */
    get: {
      parameters: { query?: { model?: string | undefined; limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Release)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/releases/{releaseId}': {
    /** One release */
    get: {
      parameters: { query?: never; path: { releaseId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Release }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/releases/{releaseId}/actions': {
    /** Submit a release for signing, publish the signed one, or withdraw it */
    post: {
      parameters: { query?: never; path: { releaseId: Id }; header?: never }
      requestBody: { content: { 'application/json': ReleaseAction } }
      responses: {
        200: Answered<{ 'application/json': Release }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted" | "step-up-needed">
        404: Refused<"not-found">
        409: Refused<"approval-needed" | "conflict" | "illegal-transition" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/releases/{releaseId}/delivery': {
    /** Shorter ways to the image of a release, newest first: deltas from what devices run, and zstd */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { releaseId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (DeliveryForm)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts': {
    /** Rollouts, newest first, with their counts */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; state?: "draft" | "approved" | "running" | "paused" | "completed" | "failed" | "cancelled" | undefined; groupId?: Id | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Rollout)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Draft a rollout of a published release to a group, in phases */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewRollout } }
      responses: {
        201: Answered<{ 'application/json': Rollout }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/preview': {
    /** How many devices each phase would reach, and why others would not be reached */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': RolloutPreviewQuestion } }
      responses: {
        200: Answered<{ 'application/json': RolloutPreview }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}': {
    /** One rollout, with counts by state and phase */
    get: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Rollout }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Change what it does, as far as it was not done yet; voids its approvals */
    patch: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': RolloutEdit } }
      responses: {
        200: Answered<{ 'application/json': Rollout }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition" | "not-ready">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/definition': {
    /** What exactly is approved, and its hash */
    get: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Definition }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/actions': {
    /** Approve, start, advance, pause, resume or cancel */
    post: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: never }
      requestBody: { content: { 'application/json': RolloutAction } }
      responses: {
        200: Answered<{ 'application/json': Rollout }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/retry': {
    /** Draft a rollout of the same release for the devices that failed */
    post: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': RolloutDerivation } }
      responses: {
        201: Answered<{ 'application/json': Rollout }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/rollback': {
    /** What its devices could be given back, and which cannot and why; writes nothing */
    get: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Rollback }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"illegal-transition" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Draft a rollout that gives its devices back what they had before it */
    post: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': RolloutDerivation } }
      responses: {
        201: Answered<{ 'application/json': Rollout }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/rollback/devices': {
    /** The devices that cannot be given back what they had, by their ids */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (NoWayBack)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"illegal-transition" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/windows': {
    /** The maintenance windows of devices and groups, newest first, and whether they are open */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; deviceId?: Id | undefined; groupId?: Id | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (MaintenanceWindow)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/groups/{groupId}/window': {
    /** Let updates begin on the devices of a group in this window only */
    put: {
      parameters: { query?: never; path: { groupId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': WindowRuleInput } }
      responses: {
        200: Answered<{ 'application/json': MaintenanceWindow }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Take away the window of a group */
    delete: {
      parameters: { query?: never; path: { groupId: Id }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/window': {
    /** Let updates begin on a device in this window only, and in those of its groups */
    put: {
      parameters: { query?: never; path: { deviceId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': WindowRuleInput } }
      responses: {
        200: Answered<{ 'application/json': MaintenanceWindow }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Take away the window of a device */
    delete: {
      parameters: { query?: never; path: { deviceId: Id }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/blackouts': {
    /** Calendars of days on which no update begins anywhere */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Calendar)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Name days on which no update begins anywhere */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': CalendarWanted } }
      responses: {
        201: Answered<{ 'application/json': Calendar }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/blackouts/{blackoutId}': {
    /** Put other days in place of those of a calendar */
    put: {
      parameters: { query?: never; path: { blackoutId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': CalendarWanted } }
      responses: {
        200: Answered<{ 'application/json': Calendar }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Remove a calendar: its days are days like any other */
    delete: {
      parameters: { query?: never; path: { blackoutId: Id }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/events': {
    /** Watch one rollout: `snapshot`, then `change` at most once a second, each with the whole view; `end` says why no more comes */
    get: {
      parameters: { query?: never; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'text/event-stream': Rollout }>
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/settings': {
    /** A device's own settings, newest first, and what became of each */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Settings)[]
            nextCursor: string | null
            revision: number
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** What one device shall have over its fleet’s settings, within the schema that was signed offline */
    put: {
      parameters: { query?: never; path: { deviceId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': SettingsWanted } }
      responses: {
        200: Answered<{ 'application/json': Settings }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/log': {
    /** The head of the transparency log: how many entries, and the root over them */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': LogHead }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/log/entries': {
    /** What was ever published, oldest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (LogEntry)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/log/consistency': {
    /** Proof that the log still begins with what it held when it had so many entries */
    get: {
      parameters: { query: { from: number }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Consistency }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/log/inclusion/{leaf}': {
    /** Proof that an entry, by its leaf hash, is in the log */
    get: {
      parameters: { query?: never; path: { leaf: string }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Inclusion }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/deployments/{deploymentId}/overrides': {
    /** Ask to install a security update over the owner's word, on a managed device only */
    post: {
      parameters: { query?: never; path: { deploymentId: Id }; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': OverrideWanted } }
      responses: {
        201: Answered<{ 'application/json': Override }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Who wanted to decide over the owner, and who approved it, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { deploymentId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Override)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/overrides/{overrideId}/actions': {
    /** Approve an override (two others than its author must, or as many as the policy says) or take it back */
    post: {
      parameters: { query?: never; path: { overrideId: Id }; header?: never }
      requestBody: { content: { 'application/json': OverrideAction } }
      responses: {
        200: Answered<{ 'application/json': Override }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/deployments': {
    /** The devices that a rollout met, and how far each is */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; state?: "queued" | "offered" | "postponed" | "accepted" | "opted_out" | "downloading" | "verified" | "waiting_window" | "installing" | "installed" | "rebooting" | "testing" | "succeeded" | "rolled_back" | "failed" | "failed_final" | "cancelled" | "superseded" | "expired" | "lost" | undefined }; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Deployment)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/deployments/{deploymentId}': {
    /** One device and one release, with its history */
    get: {
      parameters: { query?: never; path: { deploymentId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': DeploymentHistory }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/deployments': {
    /** Everything that was ever given to a device, newest first, with what it said when something went wrong */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (PastDeployment)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/devices/{deviceId}/choices': {
    /** The ledger of what a device's owner chose about updates */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path: { deviceId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Choice)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/rollouts/{rolloutId}/results': {
    /** What became of every device that a rollout met, as one JSON array or CSV (RFC 4180), streamed */
    get: {
      parameters: { query?: { format?: "csv" | "json" | undefined }; path: { rolloutId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': (RolloutResult)[]; 'text/csv': string }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit': {
    /** Who changed what and when, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; subject?: string | undefined; actor?: string | undefined; action?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Audit)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit/verify': {
    /** Walk the hash chain and name the first place where it does not hold */
    get: {
      parameters: { query?: { after?: number | undefined; limit?: number | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': AuditVerification }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit/status': {
    /** Where the audit log begins and ends, what was signed, and who could change it */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': AuditStatus }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit/keys': {
    /** The public keys that checkpoints of the audit log are signed with, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (AuditKey)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Replace the key of the audit log by a new one, which the one before signs */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody?: never
      responses: {
        201: Answered<{ 'application/json': AuditKey }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit/checkpoints': {
    /** Where the chain ended at moments, signed, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Checkpoint)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit/hold': {
    /** Keep everything from being dropped, as for an inquiry, or end that */
    put: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': HoldWanted } }
      responses: {
        200: Answered<{ 'application/json': Hold }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/audit/export': {
    /** The whole chain with the keys and checkpoints that verify it, one JSON object a line */
    get: {
      parameters: { query?: { after?: number | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/x-ndjson': string }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/backups': {
    /** The backups that this server keeps, newest first, and the one that is being made */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            backups: ({
              name: string
              bytes: number
              madeAt: Instant
            })[]
            running: string | null
            failure: {
              name: string
              detail: string
            } | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make a backup now; it is there when the list names it */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        202: Answered<{ 'application/json': {
            name: string
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict" | "not-ready">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/doctor': {
    /** What is wrong with this installation, or soon will be, and what mends it */
    get: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            at: Instant
            findings: ({
              check: string
              level: "ok" | "warning" | "error"
              what: string
              fix: string | null
            })[]
            listeners: {
              host: string
              device: number
              mqtt: number
              public: number
            }
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/events': {
    /** Security events, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; deviceId?: Id | undefined; kind?: string | undefined; severity?: "info" | "warning" | "critical" | undefined; source?: "server" | "device" | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (SecurityEvent)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/webhooks': {
    /** Have events sent to an address; its secret is in this answer and nowhere else */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewWebhook } }
      responses: {
        201: Answered<{ 'application/json': WebhookWithSecret }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Addresses that events are sent to, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Webhook)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/webhooks/{endpointId}': {
    /** One address, and what waits for it */
    get: {
      parameters: { query?: never; path: { endpointId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Webhook }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Change where events go, or which */
    patch: {
      parameters: { query?: never; path: { endpointId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': WebhookChange } }
      responses: {
        200: Answered<{ 'application/json': Webhook }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Send nothing there any more; what waits for it is dropped */
    delete: {
      parameters: { query?: never; path: { endpointId: Id }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/webhooks/{endpointId}/actions': {
    /** Switch it off or on, send a test, or replace its secret, which is in this answer */
    post: {
      parameters: { query?: never; path: { endpointId: Id }; header?: never }
      requestBody: { content: { 'application/json': WebhookAction } }
      responses: {
        200: Answered<{ 'application/json': WebhookWithSecret }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/webhooks/{endpointId}/deliveries': {
    /** What was sent to it, waits, or could not be delivered (state "dead"), newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; state?: "pending" | "delivered" | "dead" | undefined }; path: { endpointId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (WebhookDelivery)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/webhooks/{endpointId}/replays': {
    /** Send again: one event, the dead letters, or what happened in a time */
    post: {
      parameters: { query?: never; path: { endpointId: Id }; header?: never }
      requestBody: { content: { 'application/json': WebhookReplay } }
      responses: {
        202: Answered<{ 'application/json': WebhookReplayed }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alerts': {
    /** What deserves attention, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; state?: "open" | "acknowledged" | "resolved" | undefined; severity?: "info" | "warning" | "critical" | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (Alert)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alerts/{alertId}': {
    /** One alert, what it means and what to do */
    get: {
      parameters: { query?: never; path: { alertId: Id }; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': Alert }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alerts/{alertId}/actions': {
    /** Acknowledge an alert, so that nobody is told again, or resolve it */
    post: {
      parameters: { query?: never; path: { alertId: Id }; header?: never }
      requestBody: { content: { 'application/json': AlertAction } }
      responses: {
        200: Answered<{ 'application/json': Alert }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict" | "illegal-transition">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-rules': {
    /** What makes an alert, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (AlertRule)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Make a rule */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewAlertRule } }
      responses: {
        201: Answered<{ 'application/json': AlertRule }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-rules/{ruleId}': {
    /** Put another rule in its place; its alerts stay */
    put: {
      parameters: { query?: never; path: { ruleId: Id }; header?: { 'If-Match'?: string } }
      requestBody: { content: { 'application/json': NewAlertRule } }
      responses: {
        200: Answered<{ 'application/json': AlertRule }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Remove a rule, with its alerts */
    delete: {
      parameters: { query?: never; path: { ruleId: Id }; header?: { 'If-Match'?: string } }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        412: Refused<"precondition-failed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-channels': {
    /** Where alerts are told, newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (AlertChannel)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
    /** Name a webhook, or people with mail addresses, that alerts can be told to */
    post: {
      parameters: { query?: never; path?: never; header?: { 'Idempotency-Key'?: string } }
      requestBody: { content: { 'application/json': NewAlertChannel } }
      responses: {
        201: Answered<{ 'application/json': AlertChannel }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed" | "quota-exhausted">
        404: Refused<"not-found">
        409: Refused<"conflict" | "not-ready">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        422: Refused<"idempotency-mismatch">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-channels/{channelId}': {
    /** Remove a channel; rules tell it nothing any more */
    delete: {
      parameters: { query?: never; path: { channelId: Id }; header?: never }
      requestBody?: never
      responses: {
        204: Answered<{ "application/json"?: never }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-channels/{channelId}/actions': {
    /** Send something by a channel that says it is a test */
    post: {
      parameters: { query?: never; path: { channelId: Id }; header?: never }
      requestBody: { content: { 'application/json': AlertChannelAction } }
      responses: {
        200: Answered<{ 'application/json': AlertChannel }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-mails': {
    /** Mails about alerts: sent, waiting, or given up (state "dead"), newest first */
    get: {
      parameters: { query?: { limit?: number | undefined; cursor?: string | undefined; state?: "pending" | "delivered" | "dead" | undefined }; path?: never; header?: never }
      requestBody?: never
      responses: {
        200: Answered<{ 'application/json': {
            items: (AlertMail)[]
            nextCursor: string | null
          } }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/alert-mails/{mailId}/actions': {
    /** Send a mail again that was given up */
    post: {
      parameters: { query?: never; path: { mailId: Id }; header?: never }
      requestBody: { content: { 'application/json': AlertMailAction } }
      responses: {
        200: Answered<{ 'application/json': AlertMail }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        404: Refused<"not-found">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/ways': {
    /** How people sign in here */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': SignInWays }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/password': {
    /** First step: address and password; the answer is a ticket for the second factor */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': SignInWithPassword } }
      responses: {
        200: Answered<{ 'application/json': SignInTicket }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/passkey': {
    /** What a browser needs to ask for any passkey of this server, without a password */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': NoWanted } }
      responses: {
        200: Answered<{ 'application/json': PasskeyOptions }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/second-factor/passkey': {
    /** What a browser needs to ask for a passkey as the second factor */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': SignInTicketShown } }
      responses: {
        200: Answered<{ 'application/json': PasskeyOptions }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/second-factor': {
    /** Last step: a code, a passkey or a recovery code; the answer sets the cookie */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': SignInWithFactor } }
      responses: {
        200: Answered<{ 'application/json': SignedIn }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/invitation': {
    /** Whom an invitation is for */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': InvitationShown } }
      responses: {
        200: Answered<{ 'application/json': Invitation }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/invitation/accept': {
    /** Choose a password, or none and a passkey; kept once the first factor was shown */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': InvitationAcceptance } }
      responses: {
        200: Answered<{ 'application/json': SignInTicket }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/setup/totp': {
    /** The secret for an authenticator app, as the first second factor */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': SignInTicketShown } }
      responses: {
        200: Answered<{ 'application/json': TotpSetup }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/setup/passkey': {
    /** What a browser needs to make a passkey, as the first factor */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': SignInTicketShown } }
      responses: {
        200: Answered<{ 'application/json': PasskeyOptions }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
  '/sign-in/setup': {
    /** Show the first factor: takes the account, sets the cookie, shows recovery codes once */
    post: {
      parameters: { query?: never; path?: never; header?: never }
      requestBody: { content: { 'application/json': FirstFactor } }
      responses: {
        200: Answered<{ 'application/json': SetUp }>
        400: Refused<"invalid-request">
        401: Refused<"not-authenticated">
        403: Refused<"not-allowed">
        409: Refused<"conflict">
        413: Refused<"too-large">
        415: Refused<"unsupported-media-type">
        429: Refused<"rate-limited">
        500: Refused<"internal">
        503: Refused<"busy">
      }
    }
  }
}
