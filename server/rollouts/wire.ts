import { z } from 'zod'

import { deploymentStates } from '../protocol/deployment.ts'
import { AbortBody, AbortView } from './abort-wire.ts'
import { bounds, BoundsView, phaseBounds, PhaseBoundsView } from './bounds-wire.ts'
import { CertificateBody, CertificateTargetView } from './certificate-wire.ts'
import { GateView, Span, waitsForWords } from './gate-wire.ts'
import { Approvals, ApprovalsView, DefinitionHash, StartAt } from './governance-wire.ts'
import { Limits, LimitsView } from './limits-wire.ts'
import { operatorActions, rolloutStates } from './state.ts'
import { DeviceQueryText } from './target-wire.ts'
import { IgnoreWindows, RolloutWindowView, WindowRule } from './window-wire.ts'

const id = z.uuid().toLowerCase()
const text = (longest: number) =>
  z
    .string()
    .min(1)
    .max(longest)
    .regex(/^[^\p{Cc}\p{Cs}]+$/u, 'must not hold control characters')

/** Thousandths are what the database keeps. */
const percent = z
  .number()
  .min(0)
  .max(100)
  .refine((value) => Math.round(value * 1000) / 1000 === value, 'at most three decimals')

const Success = z.strictObject({
  percent: percent.default(95),
  minExecuted: z.int().min(1).max(1_000_000_000).default(1),
  /** So long the gate has to stay met before the next phase opens. */
  soak: Span.optional(),
  /** Of the devices met, in percent: how many owners may have put it off or want none of it. */
  maxPutOff: percent.optional(),
  /** When fewer than `minExecuted` are executed so long after the phase opened, it is a person's turn. */
  within: Span.optional(),
})

const PhaseBody = z
  .strictObject({
    /** Cumulative: the share of the group that is admitted once this phase is open. */
    percent: percent.refine((value) => value > 0, 'must be above 0').optional(),
    ...phaseBounds,
    success: Success.prefault({}),
    hold: z.boolean().default(false),
  })
  .refine(
    ({ percent: share, count, cohort }) =>
      [share, count, cohort].filter((extent) => extent !== undefined).length === 1,
    'give exactly one of percent, count and cohort',
  )

const Phases = z
  .array(PhaseBody)
  .min(1)
  .max(32)
  .refine((phases) => {
    const shares = phases.flatMap((phase) => phase.percent ?? [])
    return shares.every((share, n) => share > (shares[n - 1] ?? 0))
  }, 'the percents are cumulative and must rise from phase to phase')

/**
 * What may be changed by an edit too. Optional, and null for the default (`.nullish()`), never with a default here: an edit
 * that leaves a field out must not set it. Each has a line in `columns.ts`.
 */
const settings = {
  /** When to stop by itself, beside the built-in rules or instead of them. */
  abort: AbortBody.nullish(),
  /** How long a deployment may stay in a state until it is given up for lost; states that are not named have the server's. */
  limits: Limits.nullish(),
  /** When devices may begin, beside the windows that they and their groups have. */
  window: WindowRule.nullish(),
  /** Only for a security release: passes the windows of devices and groups. */
  ignoreWindows: IgnoreWindows.nullish(),
  approvals: Approvals,
  startAt: StartAt,
  ...bounds,
}

const definition = {
  /** What is given out; or `certificate`. */
  releaseId: id.optional(),
  /** Releases of other components, installed with it or none of them. */
  with: z.array(id).max(7).default([]),
  /** Instead of a release: devices renew their certificates. */
  certificate: CertificateBody.optional(),
  groupId: id,
  phases: Phases,
  /** Which devices of the group (docs/device-queries.md); frozen, and asked of a device when it is met. */
  query: DeviceQueryText.optional(),
  ...settings,
}

/** One of the two, and nothing that comes along without a release. */
const isOneThing = (given: { releaseId?: unknown; certificate?: unknown; with: unknown[] }) =>
  (given.releaseId === undefined) !== (given.certificate === undefined) &&
  (given.releaseId !== undefined || given.with.length === 0)
const oneThing = 'name a releaseId (and what comes with it), or a certificate'

export const RolloutBody = z
  .strictObject({ name: text(200), ...definition })
  .refine(isOneThing, oneThing)
export type RolloutBody = z.infer<typeof RolloutBody>

/** What an edit changes; what it leaves out stays. */
export const EditBody = z.strictObject({
  name: text(200).optional(),
  /** All of them. Those that are over stay as they are, and of the open one whom it takes. */
  phases: Phases.optional(),
  ...settings,
  /** The definition that the caller saw: another one is not overwritten. */
  definitionHash: DefinitionHash.optional(),
  reason: text(500).optional(),
})

const notForPreview = z.never({ error: 'draft it, and preview the draft' }).optional()

/** Of a rollout that exists, with its own seed; or of a definition. */
export const PreviewBody = z.union([
  z.strictObject({ rolloutId: id }),
  z.strictObject({
    name: text(200).optional(),
    ...definition,
    certificate: notForPreview,
    releaseId: id,
  }),
])

export const RolloutParams = z.object({ rolloutId: id })

export const ActionBody = z.strictObject({
  action: z.enum(operatorActions),
  /** Shown with the rollout, and kept in the audit trail. */
  reason: text(500).optional(),
  /** With `advance`: the phase that is open now. Another one is refused, so that a repeated call does not open two. */
  phase: z.int().min(1).max(32).optional(),
  /** With `approve`: the definition that is approved, as the rollout shows it. Needed where approvals are. */
  definitionHash: DefinitionHash.optional(),
})

const Counts = z.partialRecord(z.enum(deploymentStates), z.number())

export const RolloutView = z.object({
  id: z.string(),
  name: z.string(),
  /** Null for a rollout of certificates. */
  releaseId: z.string().nullable(),
  /** What certificates are to become; null for a release. */
  certificate: CertificateTargetView.nullable(),
  with: z.array(z.string()),
  groupId: z.string(),
  query: z.string().nullable(),
  ...BoundsView.shape,
  window: RolloutWindowView.nullable(),
  ignoreWindows: IgnoreWindows.nullable(),
  state: z.enum(rolloutStates),
  /** The open phase; 0 before the start. */
  phase: z.number(),
  reason: z.string().nullable(),
  abort: AbortView,
  limits: LimitsView,
  /** What a running rollout waits for before it opens the next phase or, in the last one, completes. */
  waitsFor: z.enum(waitsForWords).nullable(),
  phases: z.array(
    z.object({
      no: z.number(),
      ...PhaseBoundsView.shape,
      success: z.object({ percent: z.number(), minExecuted: z.number(), ...GateView }),
      hold: z.boolean(),
      openedAt: z.iso.datetime().nullable(),
      /** While its gate is met and soaks: when that is over. */
      soakUntil: z.iso.datetime().nullable(),
      /** Since when it waits for a person: too few devices came in time, or the soak of a phase with `hold` is over. */
      heldAt: z.iso.datetime().nullable(),
      counts: Counts,
      executed: z.number(),
      succeeded: z.number(),
    }),
  ),
  counts: Counts,
  executed: z.number(),
  succeeded: z.number(),
  failed: z.number(),
  approvals: ApprovalsView,
  /** Of all that is approved; null for a rollout from before approvals. */
  definitionHash: z.string().nullable(),
  editedBy: z.string().nullable(),
  kind: z.enum(['update', 'retry', 'rollback', 'certificate']),
  /** Of the rollout that this one tries again, or takes back. */
  parentId: z.string().nullable(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
  /** When it starts by itself, once it is approved. */
  startAt: z.iso.datetime().nullable(),
  startedAt: z.iso.datetime().nullable(),
  endedAt: z.iso.datetime().nullable(),
})
export type RolloutView = z.infer<typeof RolloutView>
