import { z } from 'zod'

import { deploymentStates } from '../protocol/deployment.ts'
import { DeploymentView } from './wire.ts'

const instant = z.iso.datetime().nullable()

/** What became of one device in a rollout: one object of the JSON array, one line of the CSV, in this order. */
export const ResultView = z.object({
  deviceId: z.string(),
  serialNumber: z.string().nullable(),
  phase: z.number(),
  state: z.enum(deploymentStates),
  code: z.string().nullable(),
  /** The device's own words. */
  detail: z.string().nullable(),
  attempts: z.number(),
  component: z.string(),
  admittedAt: z.iso.datetime(),
  firstOfferedAt: instant,
  startedAt: instant,
  endedAt: instant,
  fromBuild: z.number().nullable(),
  toBuild: z.number().nullable(),
  deploymentId: z.string(),
})
export type ResultView = z.infer<typeof ResultView>

export const ResultQuery = z.strictObject({ format: z.enum(['csv', 'json']).default('json') })

/** One thing that was given to a device, with what was said when something went wrong. */
export const PastDeploymentView = z.object({
  ...DeploymentView.omit({ serialNumber: true }).shape,
  /** Null when the rollout is about devices too that the caller may not see. */
  rolloutName: z.string().nullable(),
  version: z.string().nullable(),
  /** The last 20, in order, in the device's own words where they are its own. */
  said: z.array(
    z.object({
      state: z.enum(deploymentStates),
      code: z.string().nullable(),
      detail: z.string().nullable(),
      at: z.iso.datetime(),
    }),
  ),
})
export type PastDeploymentView = z.infer<typeof PastDeploymentView>
