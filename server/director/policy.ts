import { z } from 'zod'

import type { Policy, ReleaseClass } from '../../pki/tuf/types.ts'
import { sha256Of } from '../metadata/online-files.ts'
import { effectivePolicy } from '../models/service.ts'
import type { ModelPolicy } from '../models/wire.ts'
import { encodeNotice } from '../protocol/notice.ts'

export interface PolicyFacts {
  class: ReleaseClass
  /** Of the release, as `releases/wire.ts` has it. */
  advisory: unknown
  /** Agreed with the owner at enrollment. */
  managed: boolean
  /** Of the rollout; what is not understood in it counts for nothing. */
  rollout: unknown
  /** Of the model, as stored. */
  model: unknown
  /** It would take the device to another maintenance line, and no reason was recorded why that must be. */
  leavesLine?: boolean
  /** Of the release: for its owners when there is no advisory. */
  notes?: string
  /** When it may be installed, of the windows that the server keeps: `01:00-05:00`, UTC. */
  window?: string[]
  /** Approved and in force. */
  override?: NonNullable<Policy['override']>
}

const AdvisoryFacts = z.object({
  id: z.string(),
  severity: z.string(),
  url: z.string(),
  exploited: z.boolean().default(false),
  text: z.string().optional(),
  action: z.string().optional(),
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
export function policyFor(facts: PolicyFacts): Policy {
  const { class: release, advisory, managed, rollout, override } = facts
  const model = effectivePolicy(facts.model)
  const parsed = AdvisoryFacts.safeParse(advisory)
  const notice = parsed.success ? parsed.data : undefined
  const { window, quiet, auto: mayBeAutomatic, postpone } = RolloutPolicy.parse(rollout)
  const isExploited = release === 'security' && notice?.exploited === true
  // A feature is never installed without being asked for, and neither is a fix that brings features.
  const isAutomatic = release === 'config' || (release === 'security' && model.autoSecurity)
  const auto = isAutomatic && facts.leavesLine !== true && mayBeAutomatic !== false
  const urgency = isExploited ? 'exploited' : 'normal'
  const limits = release === 'security' && limitsOf(model.postpone, isExploited)
  const told = noticeOf(notice, facts.notes)
  return {
    class: release,
    auto,
    notify: release !== 'config',
    consent: auto ? 'none' : 'download+install',
    optOut: managed ? 'managed' : 'honored',
    urgency,
    quiet: quiet ?? model.quiet,
    window: window ?? facts.window ?? [],
    ...(limits ? { postpone: atLeast(limits, postpone ?? {}) } : {}),
    ...(notice ? { advisory: { id: notice.id, severity: notice.severity, url: notice.url } } : {}),
    ...(told ? { notice: told } : {}),
    ...(managed && override ? { override } : {}),
  }
}

function limitsOf(model: ModelPolicy['postpone'], isExploited: boolean): Postpone {
  const kind = isExploited ? 'exploited' : 'security'
  return model[kind] ?? postponeOf[kind]
}

/** What fits beside the metadata: the whole text is at the advisory's address. */
const maxText = 600
const maxAction = 240

/** The beginning of the text for owners, and which text it is: the ledger keeps that with their choice. */
function noticeOf(
  advisory: z.infer<typeof AdvisoryFacts> | undefined,
  notes: string | undefined,
): Policy['notice'] {
  const text = advisory?.text?.trim() || notes?.trim()
  if (!text) return undefined
  const action = advisory?.action?.trim()
  return {
    text: encodeNotice(text, maxText),
    ...(action ? { action: encodeNotice(action, maxAction) } : {}),
    sha256: sha256Of(action ? `${text}\n\n${action}` : text),
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
