import { z } from 'zod'

import { alertActions, alertStates, channelKinds, mailStates } from './state.ts'

const id = z.uuid().lowercase()
const instant = z.iso.datetime().max(40)
const severity = z.enum(['info', 'warning', 'critical'])
const name = z.string().trim().min(1).max(100)
const seconds = z.int().min(60).max(604_800)

export const AlertParams = z.object({ alertId: id })
export const RuleParams = z.object({ ruleId: id })
export const ChannelParams = z.object({ channelId: id })
export const MailParams = z.object({ mailId: id })

export const alertFilter = { state: z.enum(alertStates).optional(), severity: severity.optional() }

export const AlertView = z.object({
  id,
  ruleId: id,
  rule: z.string(),
  kind: z.string(),
  severity,
  /** Of a rule that makes an alert of each device. */
  deviceId: id.nullable(),
  state: z.enum(alertStates),
  count: z.int(),
  firstAt: instant,
  lastAt: instant,
  /** When its channels were told last. */
  toldAt: instant.nullable(),
  note: z.string().nullable(),
  /** What the kind means, and what to do; null for kinds that devices chose. */
  means: z.string().nullable(),
  todo: z.string().nullable(),
  acknowledgedBy: z.string().nullable(),
  acknowledgedAt: instant.nullable(),
  resolvedBy: z.string().nullable(),
  resolvedAt: instant.nullable(),
})
export type AlertView = z.infer<typeof AlertView>

export const AlertActionBody = z.strictObject({
  action: z.enum(alertActions),
  note: z.string().trim().min(1).max(500).optional(),
})

const ruleFields = {
  name,
  /** A kind of security event, or the beginning of some and a star: `mqtt-*`, `*`. */
  kinds: z
    .string()
    .regex(/^([a-z0-9][a-z0-9-]{0,63})?\*?$/)
    .min(1),
  /** Whose events: of the server, what devices report, or both. */
  source: z.enum(['server', 'device', 'any']),
  minSeverity: severity,
  /** Only events of devices that are members of all of these. */
  groupIds: z.array(id).max(20),
  /** So many within the window make an alert. */
  threshold: z.int().min(1).max(1_000),
  windowSeconds: seconds,
  /** While it goes on and nobody has acknowledged it, channels are told again after this time. */
  quietSeconds: seconds,
  /** One alert for each kind, or for each kind and device. */
  each: z.enum(['kind', 'device']),
  channelIds: z.array(id).max(20),
  enabled: z.boolean(),
}

export const RuleBody = z.strictObject({
  ...ruleFields,
  source: ruleFields.source.default('any'),
  minSeverity: severity.default('warning'),
  groupIds: ruleFields.groupIds.default([]),
  threshold: ruleFields.threshold.default(1),
  windowSeconds: seconds.default(3_600),
  quietSeconds: seconds.default(14_400),
  each: ruleFields.each.default('kind'),
  channelIds: ruleFields.channelIds.default([]),
  enabled: z.boolean().default(true),
})
export type RuleBody = z.infer<typeof RuleBody>

export const RuleView = z.object({
  id,
  ...ruleFields,
  kinds: z.string(),
  createdBy: z.string(),
  createdAt: instant,
  changedAt: instant,
  /** For `If-Match`: another one after each change of what people write in it. */
  version: z.int(),
})
export type RuleView = z.infer<typeof RuleView>

export const ChannelBody = z.union([
  z.strictObject({ name, kind: z.literal('webhook'), endpointId: id }),
  z.strictObject({
    name,
    kind: z.literal('email'),
    recipients: z.array(z.email().max(254)).min(1).max(20),
  }),
])
export type ChannelBody = z.infer<typeof ChannelBody>

export const ChannelView = z.object({
  id,
  name: z.string(),
  kind: z.enum(channelKinds),
  endpointId: id.nullable(),
  recipients: z.array(z.string()).nullable(),
  /** Alerts that were not mailed since there were too many, until the next mail says so. */
  held: z.int(),
  createdBy: z.string(),
  createdAt: instant,
})
export type ChannelView = z.infer<typeof ChannelView>

export const ChannelActionBody = z.strictObject({ action: z.enum(['test']) })

export const mailFilter = { state: z.enum(mailStates).optional() }

export const MailView = z.object({
  id,
  channelId: id,
  alertId: id.nullable(),
  recipients: z.array(z.string()),
  subject: z.string(),
  state: z.enum(mailStates),
  attempts: z.int(),
  dueAt: instant.nullable(),
  lastError: z.string().nullable(),
  createdAt: instant,
  endedAt: instant.nullable(),
})
export type MailView = z.infer<typeof MailView>

export const MailActionBody = z.strictObject({ action: z.enum(['retry']) })
