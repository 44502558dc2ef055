import { z } from 'zod'

import { deploymentStates } from '../protocol/deployment.ts'
import { reasonCodes } from './reason-wire.ts'

export const ExplanationParams = z.object({
  rolloutId: z.uuid().toLowerCase(),
  deviceId: z.uuid().toLowerCase(),
})
export const ExplainedDeviceParams = z.object({ deviceId: z.uuid().toLowerCase() })

/** What can be said about a device that a rollout has met, or is about to meet. */
export const standingCodes = [
  /** Nothing speaks against it: it is offered at its next contact. */
  'admitted',
  /** It has its deployment and is yet to say that it was told. */
  'queued',
  'consent-needed',
  'postponed',
  'opted-out',
  'under-way',
  'ended',
] as const

export const ExplanationView = z.object({
  rolloutId: z.string(),
  rolloutName: z.string(),
  deviceId: z.string(),
  code: z.enum([...reasonCodes, ...standingCodes]),
  /** The answer for a person. */
  words: z.string(),
  /** What would have to change for it to be otherwise. */
  change: z.string(),
  /** When it may be otherwise by itself, if that is known. */
  until: z.iso.datetime().nullable(),
  /** The releases that lead to the rollout's own, which is the last; empty where nothing leads there. */
  path: z.array(z.object({ releaseId: z.string(), version: z.string(), build: z.number() })),
  deployment: z
    .object({
      id: z.string(),
      state: z.enum(deploymentStates),
      code: z.string().nullable(),
      isStep: z.boolean(),
    })
    .nullable(),
  /** What the decision was made from. */
  facts: z.record(z.string(), z.unknown()),
  at: z.iso.datetime(),
})
export type ExplanationView = z.infer<typeof ExplanationView>
