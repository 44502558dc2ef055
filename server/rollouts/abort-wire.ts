import { z } from 'zod'

/**
 * What a rule counts. The first three are states of deployments; `timeout` and `dark` are parts of `lost`, `rejected` (the
 * device refused the update) is a part of `failed_final`; `opted_out` is what owners decided, and no failure.
 */
export const abortKinds = [
  'failed_final',
  'rolled_back',
  'lost',
  'timeout',
  'dark',
  'rejected',
  'opted_out',
] as const
export type AbortKind = (typeof abortKinds)[number]

export const abortActions = ['pause', 'cancel', 'rollback'] as const
export type AbortAction = (typeof abortActions)[number]

export const AbortRule = z.strictObject({
  kinds: z
    .array(z.enum(abortKinds))
    .min(1)
    .max(abortKinds.length)
    .refine((kinds) => new Set(kinds).size === kinds.length, 'a kind is named twice')
    .default(['failed_final', 'rolled_back', 'lost']),
  /** Of executed devices, and with `opted_out` of those too: fewer never stop anything. */
  minExecuted: z.int().min(1).max(1_000_000_000).default(20),
  /** Stops when the share reaches it. */
  percent: z
    .number()
    .min(0.01)
    .max(100)
    .refine((value) => Math.round(value * 100) / 100 === value, 'at most two decimals'),
  /** The phase that is open, or all of the rollout. */
  scope: z.enum(['phase', 'rollout']).default('rollout'),
  /** `cancel` ends it for good as failed; `rollback` does, and takes back what it did. */
  action: z.enum(abortActions).default('pause'),
})
export type AbortRule = z.infer<typeof AbortRule>

const AbortSettings = z.strictObject({
  /** The built-in rules hold as well. Without them and without rules of one's own nothing ever stops by itself. */
  defaults: z.boolean().default(true),
  rules: z.array(AbortRule).max(16).default([]),
})
export type Abort = z.infer<typeof AbortSettings>

/** A list of rules, or the same with a word about the built-in ones. */
export const AbortBody = z.preprocess(
  (given) => (Array.isArray(given) ? { rules: given as unknown[] } : given),
  AbortSettings,
)

export const AbortView = z.object({ defaults: z.boolean(), rules: z.array(AbortRule) })
