import { z } from 'zod'

import type { DeploymentState } from '../../server/protocol/deployment.ts'
import type { Choice } from '../../server/protocol/messages.ts'
import { type ChoiceFacts, postpone } from './choice.ts'
import { isZone, longEnough } from './hours.ts'
import { type Journal, offerOf, queued, type Task, withOffer } from './journal.ts'
import { noted } from './ledger.ts'

/** What the owner says, on the device; handed in by the command line as a file. */
export const OwnerRequest = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]{1,100}$/),
  choice: z.enum(['accept', 'postpone', 'optOut', 'optIn', 'quiet', 'monitorOff', 'monitorOn']),
  /** RFC 3339, for `postpone`; as long as allowed when absent. */
  until: z.iso.datetime().max(40).optional(),
  /** For `optOut`: this release only. */
  onlyThis: z.boolean().default(false),
  /** For `quiet`: hours such as `22:00-06:00`, none to take them back, and their zone. */
  quiet: z
    .strictObject({
      spans: z.array(z.string().regex(/^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/)).max(4),
      zone: z.string().max(64).optional(),
    })
    .optional(),
})
export type OwnerRequest = z.infer<typeof OwnerRequest>

export interface ChoiceResult {
  journal: Journal
  /** In plain words. */
  outcome: string
  accepted: boolean
  /** Of a postponement. */
  until?: number
}

export type OwnerFacts = Pick<ChoiceFacts, 'managed' | 'noticeMs' | 'now'> & { installMs: number }

const maxHandled = 32
const choosable: ReadonlySet<DeploymentState> = new Set(['offered', 'postponed', 'opted_out'])

/**
 * The journal after the owner's word: pure, so that the word, the move and the message to the server are stored in one
 * write. A request that was handled before changes nothing.
 */
export function applyChoice(
  journal: Journal,
  facts: OwnerFacts,
  request: OwnerRequest,
): ChoiceResult {
  const before = journal.handled.find(({ id }) => id === request.id)
  if (before) return { journal, outcome: before.outcome, accepted: true }
  const result = entered(journal, choose(journal, facts, request), { facts, request })
  const handled = [...result.journal.handled, { id: request.id, outcome: result.outcome }]
  return { ...result, journal: { ...result.journal, handled: handled.slice(-maxHandled) } }
}

/** With what was said, and what came of it, in the owner's ledger. */
function entered(
  before: Journal,
  result: ChoiceResult,
  { facts, request }: { facts: OwnerFacts; request: OwnerRequest },
): ChoiceResult {
  const { choice, onlyThis } = request
  const act = choice === 'optOut' && onlyThis ? 'decline' : choice
  const { task } = before
  const isAbout = openOffer(before) !== undefined
  const until = result.until ?? undefined
  const journal = noted(result.journal, {
    at: facts.now,
    by: 'owner',
    act: result.accepted ? act : 'refused',
    task: isAbout ? task : undefined,
    until,
    detail: result.accepted && act !== 'quiet' ? undefined : `${act}: ${result.outcome}`,
  })
  return { ...result, journal }
}

/** The task, when the owner can still say something about it. */
export function openOffer({ task }: Journal): Task | undefined {
  return task && choosable.has(task.state) ? task : undefined
}

function choose(journal: Journal, facts: OwnerFacts, request: OwnerRequest): ChoiceResult {
  switch (request.choice) {
    case 'accept':
      return acceptOffer(journal, facts)
    case 'postpone':
      return postponeOffer(journal, facts, request.until)
    case 'optOut':
      return request.onlyThis ? declineOffer(journal, facts) : optOut(journal, facts)
    case 'optIn':
      return optIn(journal, facts)
    case 'quiet':
      return setQuiet(journal, facts, request.quiet)
    case 'monitorOff':
    case 'monitorOn':
      return setMonitoring(journal, facts, request.choice)
    default:
      return request.choice satisfies never
  }
}

function acceptOffer(journal: Journal, { now }: OwnerFacts): ChoiceResult {
  const task = openOffer(journal)
  if (!task) return refused(journal, 'Nothing is offered now')
  const next = queued(journal, {
    leaf: 'choice',
    body: { deploymentId: task.deploymentId, choice: 'accept', ...shown(task, now) },
  })
  return {
    journal: { ...next, task: { ...task, accepted: true, state: 'accepted' } },
    outcome: `Accepted ${task.target.version}; it will be installed`,
    accepted: true,
  }
}

function postponeOffer(
  journal: Journal,
  facts: OwnerFacts,
  until: string | undefined,
): ChoiceResult {
  const task = openOffer(journal)
  const asked = until === undefined ? undefined : Date.parse(until)
  if (!task) {
    const postponeNext = asked === undefined ? {} : { until: asked }
    return {
      journal: { ...journal, owner: { ...journal.owner, postponeNext } },
      outcome: 'Nothing is offered now; the next offer will be postponed',
      accepted: true,
    }
  }
  const verdict = postpone(
    { ...facts, task, offer: offerOf(journal, task.target), owner: journal.owner },
    asked,
  )
  if (!verdict.allowed) return refused(journal, `It cannot be postponed: ${verdict.reason}`)
  if (task.state === 'opted_out') {
    return refused(journal, 'Updates are opted out of; nothing will be installed')
  }
  return postponedUntil(journal, task, { at: facts.now, until: verdict.until })
}

/** The task postponed, counted, and told to the server. */
function postponedUntil(
  journal: Journal,
  task: Task,
  { at, until }: { at: number; until: number },
): ChoiceResult {
  const offer = offerOf(journal, task.target)
  const counted = withOffer(journal, { ...offer, postponed: [...offer.postponed, { at, until }] })
  return {
    journal: {
      ...tellPostponed(counted, task, { until, at }),
      task: { ...task, state: 'postponed' },
    },
    until,
    outcome: `Postponed ${task.target.version} until ${new Date(until).toISOString()}`,
    accepted: true,
  }
}

export function tellPostponed(
  journal: Journal,
  task: Task,
  { until, at }: { until: number; at: number },
): Journal {
  const { deploymentId } = task
  const said = { deploymentId, choice: 'postpone' as const, until: new Date(until).toISOString() }
  const body = { ...said, ...shown(task, at) }
  return queued(journal, { leaf: 'choice', body })
}

/** Which text the owner had before them, and when they answered. */
function shown(task: Task | undefined, at: number): Pick<Choice, 'textSha256' | 'at'> {
  const sha256 = task?.policy.notice?.sha256
  return {
    ...(sha256 !== undefined && /^[0-9a-f]{64}$/.test(sha256) && { textSha256: sha256 }),
    at: new Date(at).toISOString(),
  }
}

/** Of features only: a fix is put off, or the switch for all of them is turned (updates.md 7.2). */
function declineOffer(journal: Journal, { now }: OwnerFacts): ChoiceResult {
  const task = openOffer(journal)
  if (!task) return refused(journal, 'Nothing is offered now')
  if (task.policy.class !== 'feature') {
    return refused(
      journal,
      'One security update cannot be declined alone: postpone it, or opt out of all',
    )
  }
  const offer = { ...offerOf(journal, task.target), declined: true }
  return {
    journal: tellOptOut(withOffer(journal, offer), task, now),
    outcome: `${task.target.version} will not be installed unless it is accepted`,
    accepted: true,
  }
}

/** Standing choices name no deployment: the server, too, takes them for this one and all that follow. */
function optOut(journal: Journal, { now }: OwnerFacts): ChoiceResult {
  const task = openOffer(journal)
  const body = { choice: 'optOut' as const, ...shown(task, now) }
  const told = queued(journal, { leaf: 'choice', body })
  return {
    journal: {
      ...told,
      owner: { ...journal.owner, optOut: true },
      ...(task && { task: { ...task, state: 'opted_out' as const } }),
    },
    outcome: 'Opted out: updates are announced and not installed unless one is accepted',
    accepted: true,
  }
}

/** The task opted out of, and told to the server, unless it is already. */
export function tellOptOut(journal: Journal, task: Task, now: number): Journal {
  const { deploymentId } = task
  const body = { deploymentId, choice: 'optOut' as const, ...shown(task, now) }
  const told = queued(journal, { leaf: 'choice', body })
  return { ...told, task: { ...task, state: 'opted_out' } }
}

function optIn(journal: Journal, { now }: OwnerFacts): ChoiceResult {
  const task = openOffer(journal)
  const body = { choice: 'optIn' as const, ...shown(task, now) }
  const told = queued(journal, { leaf: 'choice', body })
  const standing = { ...told, owner: { ...journal.owner, optOut: false } }
  const outcome = 'Opted in: updates are installed by the rules of their kind'
  if (!task) return { journal: standing, outcome, accepted: true }
  const offer = { ...offerOf(journal, task.target), declined: false }
  const state = task.state === 'opted_out' ? 'offered' : task.state
  return {
    journal: { ...withOffer(standing, offer), task: { ...task, state } },
    outcome,
    accepted: true,
  }
}

/** The owner's hours, by themselves: they are the device's business and are told to nobody. */
function setQuiet(
  journal: Journal,
  { installMs }: OwnerFacts,
  quiet: OwnerRequest['quiet'],
): ChoiceResult {
  if (!quiet) return refused(journal, 'No hours were given')
  const { spans, zone } = quiet
  if (zone !== undefined && !isZone(zone)) {
    return refused(journal, `${zone} is no time zone; write it like Europe/Berlin`)
  }
  const short = spans.find((span) => longEnough([span], installMs).length === 0)
  if (short !== undefined) {
    const minutes = Math.ceil(installMs / 60_000)
    return refused(journal, `${short} is too short: an update takes ${minutes} minutes here`)
  }
  const { quiet: _, ...rest } = journal.owner
  const owner = { ...rest, quiet: { spans, ...(zone !== undefined && { zone }) } }
  return {
    journal: { ...journal, owner: spans.length > 0 ? owner : rest },
    outcome:
      spans.length > 0
        ? `Updates restart the device between ${spans.join(', ')}${zone === undefined ? '' : ` (${zone})`}, or when you accept one`
        : 'Updates may restart the device at any time',
    accepted: true,
  }
}

/** What waits to be told of what happened is not told any more; that the owner chose so is, once. */
function setMonitoring(
  journal: Journal,
  { now }: OwnerFacts,
  choice: 'monitorOff' | 'monitorOn',
): ChoiceResult {
  const isOff = choice === 'monitorOff'
  const outcome = isOff
    ? 'Logging and monitoring are off: what happens to this device is not told, and not stored elsewhere'
    : 'Logging and monitoring are on'
  if ((journal.owner.monitoringOff ?? false) === isOff) return { journal, outcome, accepted: true }
  const queue = isOff ? journal.queue.filter(({ leaf }) => leaf !== 'event') : journal.queue
  const told = queued(
    { ...journal, queue },
    { leaf: 'choice', body: { choice, at: new Date(now).toISOString() } },
  )
  const owner = { ...journal.owner, monitoringOff: isOff }
  return { journal: { ...told, owner }, outcome, accepted: true }
}

function refused(journal: Journal, outcome: string): ChoiceResult {
  return { journal, outcome, accepted: false }
}
