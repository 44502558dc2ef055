import { z } from 'zod'

import * as alerts from '../alerts/wire.ts'
import * as artifacts from '../artifacts/wire.ts'
import * as audit from '../audit/wire.ts'
import * as authorities from '../authorities/wire.ts'
import * as certificates from '../certificates/wire.ts'
import * as ddi from '../ddi/wire.ts'
import * as deltas from '../deltas/wire.ts'
import * as results from '../deployments/result-wire.ts'
import * as deployments from '../deployments/wire.ts'
import * as summary from '../devices/summary-wire.ts'
import * as devices from '../devices/wire.ts'
import * as enrollment from '../enrollment/wire.ts'
import * as events from '../events/wire.ts'
import * as groups from '../groups/wire.ts'
import * as metadata from '../metadata/wire.ts'
import * as models from '../models/wire.ts'
import * as operators from '../operators/wire.ts'
import { EventMessage, eventData, type EventType } from '../outbox/wire.ts'
import * as releases from '../releases/wire.ts'
import * as abort from '../rollouts/abort-wire.ts'
import * as bounds from '../rollouts/bounds-wire.ts'
import * as certificateRollouts from '../rollouts/certificate-wire.ts'
import * as derived from '../rollouts/derived-wire.ts'
import * as explain from '../rollouts/explain-wire.ts'
import * as gates from '../rollouts/gate-wire.ts'
import * as governance from '../rollouts/governance-wire.ts'
import * as limits from '../rollouts/limits-wire.ts'
import * as penalties from '../rollouts/penalty-wire.ts'
import * as preview from '../rollouts/preview-wire.ts'
import * as windows from '../rollouts/window-wire.ts'
import * as rollouts from '../rollouts/wire.ts'
import * as scep from '../scep/wire.ts'
import * as settings from '../settings/wire.ts'
import * as self from '../sign-in/self-wire.ts'
import * as signIn from '../sign-in/wire.ts'
import * as transparency from '../transparency/wire.ts'
import * as webhooks from '../webhooks/wire.ts'

/** What is exported under a name that says too little, or that two slices use. */
const renamed: ReadonlyMap<unknown, string> = new Map<unknown, string>([
  [rollouts.ActionBody, 'RolloutAction'],
  [summary.SummaryView, 'DeviceSummary'],
  [self.AccountView, 'PersonAccount'],
  [signIn.WaysView, 'SignInWays'],
  [signIn.TicketView, 'SignInTicket'],
  [signIn.TicketBody, 'SignInTicketShown'],
  [signIn.PasswordBody, 'SignInWithPassword'],
  [signIn.FactorBody, 'SignInWithFactor'],
  [signIn.SetupBody, 'FirstFactor'],
  [signIn.AcceptBody, 'InvitationAcceptance'],
  [signIn.InvitationBody, 'InvitationShown'],
  [rollouts.EditBody, 'RolloutEdit'],
  [rollouts.PreviewBody, 'RolloutPreviewQuestion'],
  [rollouts.RolloutBody, 'NewRollout'],
  [preview.PreviewView, 'RolloutPreview'],
  [derived.DeriveBody, 'RolloutDerivation'],
  [penalties.LiftBody, 'PenaltyLift'],
  [enrollment.RequestView, 'EnrollmentRequest'],
  [enrollment.RequestActionBody, 'EnrollmentRequestAction'],
  [enrollment.TokenView, 'EnrollmentToken'],
  [enrollment.NewTokenView, 'EnrollmentTokenMade'],
  [enrollment.NewTokenBody, 'NewEnrollmentToken'],
  [ddi.TokenView, 'DdiToken'],
  [ddi.TokenBody, 'DdiTokenWanted'],
  [ddi.ProductView, 'DdiProduct'],
  [ddi.ProductBody, 'DdiProductWanted'],
  [ddi.LineView, 'DdiLine'],
  [ddi.LineBody, 'DdiLineWanted'],
  [authorities.AnswerBody, 'AuthorityRequestAnswer'],
  [authorities.NewRequestBody, 'NewAuthorityRequest'],
  [audit.VerifyView, 'AuditVerification'],
  [events.EventView, 'SecurityEvent'],
  [metadata.RenewalBody, 'MetadataRenewal'],
  [metadata.SignaturesBody, 'MetadataSignatures'],
  [metadata.SignedView, 'MetadataSigned'],
  [metadata.DraftView, 'MetadataDraft'],
  [metadata.RootsBody, 'MetadataRoots'],
  [metadata.RootsView, 'MetadataRootsTaken'],
  [metadata.RoleView, 'MetadataRole'],
  [metadata.RolesView, 'MetadataRoles'],
  [results.ResultView, 'RolloutResult'],
  [governance.ApprovalsView, 'RolloutApprovals'],
  [limits.LimitsView, 'RolloutLimits'],
  [alerts.RuleView, 'AlertRule'],
  [alerts.RuleBody, 'NewAlertRule'],
  [alerts.ChannelView, 'AlertChannel'],
  [alerts.ChannelBody, 'NewAlertChannel'],
  [alerts.ChannelActionBody, 'AlertChannelAction'],
  [alerts.MailView, 'AlertMail'],
  [alerts.MailActionBody, 'AlertMailAction'],
  [webhooks.EndpointView, 'Webhook'],
  [webhooks.EndpointSecretView, 'WebhookWithSecret'],
  [webhooks.NewEndpointBody, 'NewWebhook'],
  [webhooks.EndpointPatch, 'WebhookChange'],
  [webhooks.EndpointActionBody, 'WebhookAction'],
  [webhooks.DeliveryView, 'WebhookDelivery'],
  [webhooks.ReplayBody, 'WebhookReplay'],
  [webhooks.ReplayView, 'WebhookReplayed'],
])

/** Schemas that are the whole of a request or of an answer, or a part of several, with their names in the OpenAPI document. */
export const schemaNames = z.registry<{ id: string }>()

const modules = [
  alerts,
  artifacts,
  audit,
  authorities,
  certificates,
  ddi,
  deltas,
  results,
  deployments,
  devices,
  summary,
  enrollment,
  events,
  groups,
  metadata,
  models,
  operators,
  releases,
  abort,
  bounds,
  certificateRollouts,
  derived,
  explain,
  gates,
  governance,
  limits,
  penalties,
  preview,
  windows,
  rollouts,
  scep,
  settings,
  self,
  signIn,
  transparency,
  webhooks,
]
const taken = new Map<string, unknown>()
for (const module of modules) {
  for (const [exported, schema] of Object.entries(module)) {
    if (!(schema instanceof z.ZodType) || /(Params|Query)$/.test(exported)) continue
    const id = renamed.get(schema) ?? nameOf(exported)
    if (taken.has(id)) throw new Error(`Two schemas are called ${id}: rename ${exported}`)
    taken.set(id, schema)
    schemaNames.add(schema, { id })
  }
}

/** `GroupView` is a Group and `NewGroupBody` a NewGroup; `NewTokenView` shows once what is secret in it: a TokenMade. */
function nameOf(exported: string): string {
  const made = /^New(\w+)View$/.exec(exported)?.[1]
  if (made !== undefined) return `${made}Made`
  if (exported.endsWith('View')) return exported.slice(0, -'View'.length)
  const body = /^(New\w+|Change\w+|\w+Action)Body$/.exec(exported)?.[1]
  return body ?? exported.replace(/Body$/, 'Wanted')
}

/** What is sent to webhooks, by type of event, for the description of the interface. */
export const webhookMessages: Readonly<Record<string, z.ZodType>> = Object.fromEntries(
  (Object.keys(eventData) as EventType[]).map((type) => [type, EventMessage(type)]),
)
