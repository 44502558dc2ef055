import { z } from 'zod'

import type { DeploymentState } from '../../server/protocol/deployment.ts'
import { type ChoiceFacts, postpone } from './choice.ts'
import { type Journal, offerOf, queued, type Task, withOffer } from './journal.ts'

/** What the owner says, on the device; handed in by the command line as a file. */
export const OwnerRequest = z.strictObject({
  id: z.string().regex(/^[a-z0-9-]{1,100}$/),
  choice: z.enum(['accept', 'postpone', 'optOut', 'optIn']),
  /** RFC 3339, for `postpone`; as long as allowed when absent. */
  until: z.iso.datetime().max(40).optional(),
  /** For `optOut`: this release only. */
  onlyThis: z.boolean().default(false),
})
export type OwnerRequest = z.infer<typeof OwnerRequest>

export interface ChoiceResult {
  journal: Journal
  /** In plain words. */
  outcome: string
  accepted: boolean
}

export type OwnerFacts = Pick<ChoiceFacts, 'managed' | 'noticeMs' | 'now'>

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
  const result = choose(journal, facts, request)
  const handled = [...result.journal.handled, { id: request.id, outcome: result.outcome }]
  return { ...result, journal: { ...result.journal, handled: handled.slice(-maxHandled) } }
}

/** The task, when the owner can still say something about it. */
export function openOffer({ task }: Journal): Task | undefined {
  return task && choosable.has(task.state) ? task : undefined
}

function choose(journal: Journal, facts: OwnerFacts, request: OwnerRequest): ChoiceResult {
  switch (request.choice) {
    case 'accept':
      return acceptOffer(journal)
    case 'postpone':
      return postponeOffer(journal, facts, request.until)
    case 'optOut':
      return request.onlyThis ? declineOffer(journal) : optOut(journal)
    case 'optIn':
      return optIn(journal)
    default:
      return request.choice satisfies never
  }
}

function acceptOffer(journal: Journal): ChoiceResult {
  const task = openOffer(journal)
  if (!task) return refused(journal, 'Nothing is offered now')
  const next = queued(journal, {
    leaf: 'choice',
    body: { deploymentId: task.deploymentId, choice: 'accept' },
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
    journal: { ...tellPostponed(counted, task, until), task: { ...task, state: 'postponed' } },
    outcome: `Postponed ${task.target.version} until ${new Date(until).toISOString()}`,
    accepted: true,
  }
}

export function tellPostponed(journal: Journal, { deploymentId }: Task, until: number): Journal {
  const body = { deploymentId, choice: 'postpone' as const, until: new Date(until).toISOString() }
  return queued(journal, { leaf: 'choice', body })
}

function declineOffer(journal: Journal): ChoiceResult {
  const task = openOffer(journal)
  if (!task) return refused(journal, 'Nothing is offered now')
  const offer = { ...offerOf(journal, task.target), declined: true }
  return {
    journal: tellOptOut(withOffer(journal, offer), task),
    outcome: `${task.target.version} will not be installed unless it is accepted`,
    accepted: true,
  }
}

/** Standing choices name no deployment: the server, too, takes them for this one and all that follow. */
function optOut(journal: Journal): ChoiceResult {
  const task = openOffer(journal)
  const told = queued(journal, { leaf: 'choice', body: { choice: 'optOut' } })
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
export function tellOptOut(journal: Journal, task: Task): Journal {
  const { deploymentId } = task
  const told = queued(journal, { leaf: 'choice', body: { deploymentId, choice: 'optOut' } })
  return { ...told, task: { ...task, state: 'opted_out' } }
}

function optIn(journal: Journal): ChoiceResult {
  const task = openOffer(journal)
  const told = queued(journal, { leaf: 'choice', body: { choice: 'optIn' } })
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

function refused(journal: Journal, outcome: string): ChoiceResult {
  return { journal, outcome, accepted: false }
}
