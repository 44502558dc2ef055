import { z } from 'zod'

import type { Policy, ReleaseClass } from '../../pki/tuf/types.ts'

export interface PolicyFacts {
  class: ReleaseClass
  /** Of the release, as `releases/wire.ts` has it. */
  advisory: unknown
  /** Agreed with the owner at enrollment. */
  managed: boolean
  /** Of the rollout; what is not understood in it counts for nothing. */
  rollout: unknown
}

const AdvisoryFacts = z.object({
  id: z.string(),
  severity: z.string(),
  url: z.string(),
  exploited: z.boolean().default(false),
})

const spans = z
  .array(z.string().regex(/^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/))
  .max(16)
  .optional()
  .catch(undefined)

/** A rollout may make an update ask, and move its times; it may not take the owner's choice away. */
const RolloutPolicy = z
  .object({
    /** UTC. */
    window: spans,
    /** Device-local. */
    quiet: spans,
    /** False: ask the owner also where the class would not. */
    auto: z.boolean().optional().catch(undefined),
    /** More than the default only: an owner may never have less time than they were told. */
    postpone: z
      .object({
        eachH: z.int().min(1).max(8_760),
        graceH: z.int().min(0).max(8_760),
        maxCount: z.int().min(0).max(1_000),
        totalH: z.int().min(1).max(8_760),
      })
      .partial()
      .optional()
      .catch(undefined),
  })
  .catch({})

type Postpone = NonNullable<Policy['postpone']>

/** updates.md 7.2: what each class lets the owner do, by default. */
const postponeOf: Record<'security' | 'exploited', Postpone> = {
  security: { eachH: 72, graceH: 48, maxCount: 5, totalH: 336 },
  exploited: { eachH: 24, graceH: 24, maxCount: 3, totalH: 72 },
}

/** The choice rules that the director signs with an offer (updates.md 2.3 `x-policy`). */
export function policyFor({ class: release, advisory, managed, rollout }: PolicyFacts): Policy {
  const parsed = AdvisoryFacts.safeParse(advisory)
  const notice = parsed.success ? parsed.data : undefined
  const { window, quiet, auto: mayBeAutomatic, postpone } = RolloutPolicy.parse(rollout)
  const isExploited = release === 'security' && notice?.exploited === true
  // A feature is never installed without being asked for.
  const auto = release !== 'feature' && mayBeAutomatic !== false
  const limits = release === 'security' && postponeOf[isExploited ? 'exploited' : 'security']
  return {
    class: release,
    auto,
    notify: release !== 'config',
    consent: auto ? 'none' : 'download+install',
    optOut: managed ? 'managed' : 'honored',
    urgency: isExploited ? 'exploited' : 'normal',
    quiet: quiet ?? [],
    window: window ?? [],
    ...(limits ? { postpone: atLeast(limits, postpone ?? {}) } : {}),
    ...(notice ? { advisory: { id: notice.id, severity: notice.severity, url: notice.url } } : {}),
  }
}

function atLeast(
  limits: Postpone,
  wanted: { [K in keyof Postpone]?: number | undefined },
): Postpone {
  return {
    eachH: Math.max(limits.eachH, wanted.eachH ?? 0),
    graceH: Math.max(limits.graceH, wanted.graceH ?? 0),
    maxCount: Math.max(limits.maxCount, wanted.maxCount ?? 0),
    totalH: Math.max(limits.totalH, wanted.totalH ?? 0),
  }
}
