import { z } from 'zod'

import { deploymentStates } from '../protocol/deployment.ts'

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
  releaseId: z.string(),
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
export const DeploymentView = Deployment
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

/** One entry of the ledger of what an owner chose. */
export const ChoiceView = z.object({
  deploymentId: z.string().nullable(),
  choice: z.enum(['accept', 'postpone', 'optOut', 'optIn']),
  until: instant,
  outcome: z.string(),
  at: z.iso.datetime(),
})
export type ChoiceView = z.infer<typeof ChoiceView>
