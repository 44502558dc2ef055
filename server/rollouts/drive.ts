import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { executedStates, openStates } from '../protocol/deployment.ts'
import { judgedOf } from './abort-facts.ts'
import { type KindCount, kindCountsOf } from './abort-store.ts'
import { abortOf, firstHit, type Hit } from './abort.ts'
import { isSomeoneToRenew } from './certificates.ts'
import { notesOf, takeNotes } from './gate-notes.ts'
import { judgePhase } from './gate.ts'
import { type Progress, progressesOf, progressOf } from './progress.ts'
import { takeBack } from './rollback-rule.ts'
import { nextRolloutState, type RolloutAction } from './state.ts'
import { moveRollout, openPhase, type Rollout, runningAmong, runningRollouts } from './store.ts'
import { isSomeoneToMeet } from './targeting.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'>

/** What the engine does to a running rollout by itself; undefined: nothing now. */
export interface Decision {
  action: Extract<RolloutAction, 'advance' | 'pause' | 'fail' | 'finish'>
  /** Of a rule that stops it. */
  hit?: Hit
}

/**
 * Decides from what was counted. It stops before it goes on: a phase whose last devices trip an abort rule opens nothing.
 * `finish` says only that nobody who was met is left; whether somebody is still to be met costs a look at the group.
 */
export function decide(
  rollout: Rollout,
  progress: Progress,
  kindCounts: readonly KindCount[],
  now: Date,
): Decision | undefined {
  const hit = firstHit(abortOf(rollout.abort_rules), judgedOf(rollout, progress, kindCounts))
  if (hit) return { action: hit.action === 'pause' ? 'pause' : 'fail', hit }
  const open = progress.phases.find((phase) => phase.no === rollout.phase_no)
  if (!open) return undefined
  if (open.no < progress.phases.length) {
    const waitsFor = judgePhase(open.verdicts, open.gate, { ...open.facts, now })
    return waitsFor === 'nothing' ? { action: 'advance' } : undefined
  }
  // An owner who opted out has decided; the offer stays, and the rollout does not wait for a change of mind.
  const waiting = openStates.filter((state) => state !== 'opted_out' && progress.counts[state])
  // Nobody was met, or all that was begun was taken back: a rollout that did nothing has not completed.
  const decided = decidedStates.some((state) => progress.counts[state])
  return decided && waiting.length === 0 ? { action: 'finish' } : undefined
}

/** Ends with a verdict, and an owner's no. The others (cancelled, expired, superseded) say nothing about the release. */
const decidedStates = [...executedStates, 'opted_out'] as const

const pageSize = 200
const beforeAll = '00000000-0000-0000-0000-000000000000'

/**
 * One pass over the running rollouts: stops, advances or completes each by compare-and-set, so any number of processes may
 * do this at once. `mayLook` bounds how often the group of a rollout is looked through for devices not met yet.
 *
 * A rollout completes when its last phase is open, at least one device came to a verdict or has an owner who opted out,
 * every other deployment has ended, and no member of the group is left that is active or still to enroll, in the share,
 * and fits (or was never heard of). Members that never show up keep it running, and reachable for them; so does one of
 * which everything was cancelled, expired or superseded. A person ends that with `cancel`, which takes back nothing that
 * was started.
 */
export async function driveRollouts(ctx: Deps, mayLook: LookLimit): Promise<void> {
  for (let after = beforeAll; ;) {
    const page = await runningRollouts(ctx.db, after, pageSize)
    await drive(ctx, page, mayLook)
    const last = page.at(-1)
    if (!last || page.length < pageSize) return
    after = last.id
  }
}

/** At once after failures were stored, so that a bad release stops within one report and not one turn of the worker. */
export async function stopIfFailing(ctx: Deps, rolloutIds: readonly string[]): Promise<void> {
  if (rolloutIds.length === 0) return
  const rollouts = await runningAmong(ctx.db, rolloutIds)
  await drive(ctx, rollouts, neverLook)
}

async function drive(ctx: Deps, rollouts: readonly Rollout[], mayLook: LookLimit): Promise<void> {
  const now = ctx.clock.now()
  const progresses = await progressesOf(
    ctx.db,
    rollouts.map((rollout) => rollout.id),
  )
  const kindCounts = await kindsAmong(ctx, progresses)
  for (const rollout of rollouts) {
    const progress = progresses.get(rollout.id)
    if (!progress) continue
    const decision = decide(rollout, progress, kindCounts, now)
    if (!decision) {
      await takeNotes(ctx, rollout, notesOf(rollout, progress, now))
      continue
    }
    if (decision.action === 'finish' && (await isSomeoneLeft(ctx, rollout, mayLook))) continue
    await act(ctx, rollout, progress, decision)
  }
}

/** Only where something failed there is anything to tell apart. */
async function kindsAmong(
  { db }: Deps,
  progresses: ReadonlyMap<string, Progress>,
): Promise<KindCount[]> {
  const failing = [...progresses].filter(([, { all }]) => all.failed > 0).map(([id]) => id)
  return failing.length > 0 ? await kindCountsOf(db, failing) : []
}

async function isSomeoneLeft(ctx: Deps, rollout: Rollout, mayLook: LookLimit): Promise<boolean> {
  const isSomeone = rollout.kind === 'certificate' ? isSomeoneToRenew : isSomeoneToMeet
  return await mayLook(rollout.id, () => isSomeone(ctx, rollout))
}

async function act(
  ctx: Deps,
  before: Rollout,
  progress: Progress,
  { action, hit }: Decision,
): Promise<void> {
  const now = ctx.clock.now()
  const reason = hit?.reason
  const state = nextRolloutState(before.state, action)
  const phase_no = before.phase_no + (action === 'advance' ? 1 : 0)
  const { succeeded, failed } = progress.all
  try {
    await inTransaction(ctx.db, async (tx) => {
      const set = {
        state,
        phase_no,
        ...(reason === undefined ? {} : { reason }),
        ...(action === 'finish' || action === 'fail' ? { ended_at: now } : {}),
      }
      const moved = await moveRollout(tx, before, set, now)
      if (action === 'finish') await mustStillBeOver(tx, before, now)
      if (action === 'advance') await openPhase(tx, before.id, phase_no, now)
      const back = hit?.action === 'rollback' && {
        takenBackBy: (await takeBack(tx, moved, now)) ?? null,
      }
      const facts = {
        from: before.state,
        to: state,
        phase: phase_no,
        succeeded,
        failed,
        ...(reason === undefined ? {} : { reason }),
        ...back,
      }
      const what = { action: `rollout.${action}`, subject: before.id, facts }
      await recordAudit(tx, { at: now, actor: 'system', ...what })
    })
    const level = hit ? 'warn' : 'info'
    ctx.log[level](
      { rolloutId: before.id, action, phase: phase_no, reason },
      'rollout moved by itself',
    )
  } catch (error) {
    // Another process, or a person, was quicker: the next pass looks again.
    if (!(error instanceof DomainError && error.code === 'conflict')) throw error
  }
}

/**
 * Nobody is admitted while the rollout is held by its move, so this count is the last word: a device that was admitted
 * after the first count, and before the look found nobody left, is in it.
 */
async function mustStillBeOver(tx: Tx, before: Rollout, now: Date): Promise<void> {
  const decision = decide(before, await progressOf(tx, before), [], now)
  if (decision?.action === 'finish') return
  throw new DomainError('conflict', 'A device was admitted meanwhile', { rolloutId: before.id })
}

/** Runs `look` when it is time to, and answers true (somebody may be left) when it is not. */
export type LookLimit = (rolloutId: string, look: () => Promise<boolean>) => Promise<boolean>

const neverLook: LookLimit = async () => true

/** A look takes at most a twentieth of one connection's time, however large the group is. */
const restFactor = 20

export function createLookLimit(): LookLimit {
  const notBefore = new Map<string, number>()
  return async (rolloutId, look) => {
    const start = performance.now()
    if (start < (notBefore.get(rolloutId) ?? 0)) return true
    const found = await look()
    const end = performance.now()
    // Entries whose time has come say nothing any more.
    for (const [id, at] of notBefore) if (at < end) notBefore.delete(id)
    notBefore.set(rolloutId, end + (end - start) * restFactor)
    return found
  }
}
