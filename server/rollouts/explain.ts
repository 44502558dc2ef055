import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { passedStates } from '../protocol/deployment.ts'
import type { Reach } from '../protocol/reach.ts'
import { standingsOf } from './bounds-store.ts'
import { trim } from './bounds.ts'
import { bucketOf } from './bucket.ts'
import { type Asked, type Concern, concernsOf, deviceExists } from './explain-store.ts'
import type { ExplanationView } from './explain-wire.ts'
import { type Told, wordsFor } from './explain-words.ts'
import { type Given, judge, type Refusal, targetOf, type Verdict } from './judge.ts'
import { type Candidate, candidatesAnyway, candidatesFor } from './meet-store.ts'
import { givenFor } from './meet.ts'
import { coveredAmong } from './reach-store.ts'
import { pathTo } from './step-path.ts'
import { windowVerdict } from './window-place.ts'

type Deps = Pick<Context, 'config' | 'db' | 'clock'>

/**
 * Why a device does or does not get what a rollout gives out (rollouts.md §4): the decision is made as at a contact, by the same
 * functions and from the same facts, and told instead of carried out. Throws `not-found` for no such rollout or device.
 */
export async function explainRollout(
  ctx: Deps,
  { rolloutId, deviceId, reach }: { rolloutId: string; deviceId: string; reach: Reach },
): Promise<ExplanationView> {
  await mustExist(ctx, deviceId)
  const concerns = await concernsOf(ctx.db, deviceId, { reach, rolloutId, limit: 1 })
  const [explanation] = await explain(ctx, { deviceId, reach }, concerns)
  if (concerns.length === 0) throw new DomainError('not-found', 'No such rollout', { rolloutId })
  if (!explanation) {
    const message =
      'This rollout renews certificates: fleetseal rollout deployments ROLLOUT says where each device stands'
    throw new DomainError('invalid-request', message, { rolloutId })
  }
  return explanation
}

/** The same for the rollouts that concern a device and are within the reach, newest first; `before` is the id of the last one seen. */
export async function explainDevice(
  ctx: Deps,
  { deviceId, ...page }: Asked & { deviceId: string },
): Promise<ExplanationView[]> {
  await mustExist(ctx, deviceId)
  const { reach } = page
  return await explain(ctx, { deviceId, reach }, await concernsOf(ctx.db, deviceId, page))
}

async function mustExist({ db }: Deps, deviceId: string): Promise<void> {
  if (await deviceExists(db, deviceId)) return
  throw new DomainError('not-found', 'No such device', { deviceId })
}

async function explain(
  ctx: Deps,
  { deviceId, reach }: { deviceId: string; reach: Reach },
  concerns: readonly Concern[],
): Promise<ExplanationView[]> {
  const now = ctx.clock.now()
  const ids = concerns.map(({ id }) => id)
  const asked = await candidatesAnyway(ctx.db, deviceId, ids, now)
  const running = await candidatesFor(ctx.db, [deviceId], now)
  const given = await givenFor(ctx.db, [...asked, ...running], now)
  const verdicts = judge(running, given)
  const told: ExplanationView[] = []
  for (const concern of concerns) {
    const candidate = asked.find(({ rollout_id }) => rollout_id === concern.id)
    if (!candidate) continue
    const decided = await decide(ctx, { concern, candidate, verdicts, given, reach })
    told.push(viewOf({ concern, candidate, given }, decided))
  }
  return told
}

interface Question {
  concern: Concern
  candidate: Candidate
  /** About what the device could be offered now. */
  verdicts: readonly Verdict[]
  given: Given
  reach: Reach
}

type Decided = Pick<Refusal, 'until'> & { code: ExplanationView['code']; facts?: Told['facts'] }

async function decide(ctx: Deps, question: Question): Promise<Decided> {
  const { concern, candidate, verdicts, given } = question
  const { deployment } = concern
  if (deployment && !isBehind(deployment)) return metAs(deployment, candidate, given.now)
  if (!concern.is_member) return { code: 'not-targeted' }
  // As if it ran: who asks about a draft wants to know what would be.
  const [alone] = judge([candidate], given)
  if (concern.state !== 'running') {
    const otherwise = alone?.refusal?.code ?? 'admitted'
    return { code: 'not-running', facts: { state: concern.state, otherwise } }
  }
  const verdict = verdicts.find((one) => one.candidate.rollout_id === concern.id) ?? alone
  if (verdict?.refusal?.code === 'other-rollout') {
    const first = verdicts.find(
      (one) => one.admission && one.candidate.component === candidate.component,
    )
    const otherRolloutId = await asFarAsKnown(ctx, first?.candidate.rollout_id, question.reach)
    return { code: 'other-rollout', facts: { otherRolloutId } }
  }
  if (verdict?.refusal) return verdict.refusal
  return await withinBounds(ctx, verdict, given.now)
}

/** Null for a rollout that is about others too, for whoever is limited to groups. */
async function asFarAsKnown(
  { db }: Deps,
  rolloutId: string | undefined,
  reach: Reach,
): Promise<string | null> {
  if (rolloutId === undefined) return null
  if (reach === 'fleet') return rolloutId
  return (await coveredAmong(db, [rolloutId], reach)).has(rolloutId) ? rolloutId : null
}

/** A step on the way says nothing once it is over: what comes next is decided anew. */
function isBehind({ is_step, state }: NonNullable<Concern['deployment']>): boolean {
  return is_step && passedStates.some((one) => one === state)
}

/** What the rollout's bounds would say to this device alone. */
async function withinBounds(ctx: Deps, verdict: Verdict | undefined, now: Date): Promise<Decided> {
  if (!verdict?.admission) return { code: 'not-running' }
  const { admission } = verdict
  const { maxInFlight } = ctx.config
  const standings = await standingsOf(ctx.db, [admission.rolloutId], { now, maxInFlight })
  const inFlight = standings.get(admission.rolloutId)?.all_in_flight ?? 0
  const all = maxInFlight === undefined ? undefined : { maxInFlight, inFlight }
  const [withheld] = trim([admission], standings, all, now).withheld
  if (!withheld) return { code: 'admitted' }
  return { code: withheld.reason, ...(withheld.until && { until: withheld.until }) }
}

/** Where a device stands that has its deployment. */
function metAs(
  { state, postponed_until }: NonNullable<Concern['deployment']>,
  candidate: Candidate,
  now: Date,
): Decided {
  switch (state) {
    case 'queued':
    case 'offered': {
      const window = windowVerdict(
        candidate.windows,
        bucketOf(candidate.seed, candidate.device_id),
        now,
      )
      if (!window.open) return { code: 'out-of-window', ...(window.next && { until: window.next }) }
      return { code: state === 'queued' ? 'queued' : 'consent-needed' }
    }
    case 'postponed':
      return {
        code: 'postponed',
        ...(postponed_until !== null && { until: new Date(postponed_until) }),
      }
    case 'opted_out':
      return { code: 'opted-out' }
    case 'succeeded':
    case 'rolled_back':
    case 'failed_final':
    case 'cancelled':
    case 'superseded':
    case 'expired':
    case 'lost':
      return { code: 'ended' }
    case 'accepted':
    case 'downloading':
    case 'verified':
    case 'waiting_window':
    case 'installing':
    case 'installed':
    case 'rebooting':
    case 'testing':
    case 'failed':
      return { code: 'under-way' }
    default:
      return { code: state satisfies never }
  }
}

function viewOf(
  { concern, candidate, given }: Omit<Question, 'verdicts' | 'reach'>,
  { code, until, facts }: Decided,
): ExplanationView {
  const { deployment } = concern
  const path = candidate.standing
    ? pathTo(targetOf(candidate), given.stepsFor(candidate), candidate.standing)
    : [targetOf(candidate)]
  const told = { ...factsOf(candidate), ...facts }
  const state = deployment?.state ?? concern.state
  return {
    rolloutId: concern.id,
    rolloutName: concern.name,
    deviceId: candidate.device_id,
    code,
    ...wordsFor(code, { facts: told, state, until, failure: deployment?.code ?? null }),
    until: until?.toISOString() ?? null,
    path: (path ?? []).map(({ id, version, build }) => ({ releaseId: id, version, build })),
    deployment: deployment && {
      id: deployment.id,
      state: deployment.state,
      code: deployment.code,
      isStep: deployment.is_step,
    },
    facts: told,
    at: given.now.toISOString(),
  }
}

function factsOf(candidate: Candidate): Told['facts'] {
  const { open_phases, open } = candidate
  return {
    release: `${candidate.model}/${candidate.component}/${candidate.version}`,
    build: candidate.build,
    minPrevious: candidate.min_previous,
    runs: candidate.runs_version,
    priority: candidate.priority,
    query: candidate.query,
    place: Math.round(bucketOf(candidate.seed, candidate.device_id) * 1e6) / 1e6,
    openPhases: (open_phases ?? []).map(({ no, kind, percent, count }) => ({
      no,
      kind,
      ...(percent === null ? {} : { percent }),
      ...(count === null ? {} : { count }),
    })),
    lastSeenAt: candidate.seen_at?.toISOString() ?? null,
    failedAt: candidate.failed_at?.toISOString() ?? null,
    triesInTwoDays: candidate.tries.length,
    openDeployment: open && { id: open.id, state: open.state, version: open.version },
  }
}
