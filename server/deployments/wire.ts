import { z } from 'zod'

import { deploymentStates } from '../protocol/deployment.ts'
import { choices } from '../protocol/messages.ts'

const id = z.uuid().toLowerCase()
const instant = z.iso.datetime().nullable()
const state = z.enum(deploymentStates)

export const DeploymentParams = z.object({ deploymentId: id })
export const RolloutParams = z.object({ rolloutId: id })
export const DeviceParams = z.object({ deviceId: id })
export const stateFilter = { state: state.optional() }

const Deployment = z.object({
  id: z.string(),
  rolloutId: z.string(),
  deviceId: z.string(),
  /** Null for a certificate. */
  releaseId: z.string().nullable(),
  component: z.string(),
  phase: z.number(),
  state,
  attempts: z.number(),
  progress: z.number().nullable(),
  code: z.string().nullable(),
  detail: z.string().nullable(),
  firstOfferedAt: instant,
  postponedUntil: instant,
  postponements: z.number(),
  createdAt: z.iso.datetime(),
  changedAt: z.iso.datetime(),
})
export const DeploymentView = Deployment.extend({ serialNumber: z.string() })
export type DeploymentView = z.infer<typeof DeploymentView>

export const DeploymentHistoryView = Deployment.extend({
  history: z.array(
    z.object({
      from: state.nullable(),
      to: state,
      by: z.enum(['engine', 'device', 'owner', 'operator']),
      code: z.string().nullable(),
      detail: z.string().nullable(),
      /** By the device's clock; null for a step that was filled in or not reported. */
      reportedAt: instant,
      /** What the device signed (compact JWS), verified with the key of this certificate (SHA-256). */
      proof: z.object({ jws: z.string(), certificate: z.string() }).nullable(),
      at: z.iso.datetime(),
    }),
  ),
})
export type DeploymentHistoryView = z.infer<typeof DeploymentHistoryView>

export const OverrideParams = z.object({ overrideId: id })

export const OverrideBody = z.strictObject({
  /** Signed into what the device is told, so printable ASCII without quote and backslash (updates.md 2.1). */
  reason: z
    .string()
    .trim()
    .min(1)
    .max(200)
    .regex(/^[ !#-[\]-~]*$/, 'printable ASCII without " and \\'),
  until: z.iso.datetime({ offset: true }),
})

export const OverrideActionBody = z.strictObject({ action: z.enum(['approve', 'revoke']) })

export const OverrideView = z.object({
  id: z.string(),
  deploymentId: z.string(),
  reason: z.string(),
  until: z.iso.datetime(),
  /** Approved by enough others, not taken back, not over. */
  inForce: z.boolean(),
  createdBy: z.string(),
  createdAt: z.iso.datetime(),
  /** How many others have to approve, by the policy of now; never fewer than two. */
  needed: z.int(),
  /** Until when they can; null for one from before there was a limit. */
  approveUntil: instant,
  approvedBy: z.array(z.string()),
  approvedAt: instant,
  revokedBy: z.string().nullable(),
  revokedAt: instant,
})
export type OverrideView = z.infer<typeof OverrideView>

/** One entry of the ledger of what an owner chose. */
export const ChoiceView = z.object({
  deploymentId: z.string().nullable(),
  choice: z.enum(choices),
  until: instant,
  outcome: z.string(),
  /** Of the release it was about. */
  version: z.string().nullable(),
  /** Of the text that the device showed. */
  textSha256: z.string().nullable(),
  /** By the device's trusted time; `at` is when we learned of it. */
  chosenAt: instant,
  at: z.iso.datetime(),
})
export type ChoiceView = z.infer<typeof ChoiceView>
