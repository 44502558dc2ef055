import { GroupView } from '../server/groups/wire.ts'
import { RolloutView } from '../server/rollouts/wire.ts'
import type { ApiClient } from './api.ts'
import type { CommandInput } from './command.ts'
import { type ExitCode, exitCodes, Failure } from './failure.ts'
import { type Live, openLive } from './live.ts'
import { createProgress } from './progress.ts'

const everyMs = 1_000
const stops = new Set<RolloutView['state']>(['completed', 'failed', 'cancelled', 'paused'])

/** A stream that ended is opened again after so many looks at least. */
const looksBetweenStreams = 10

/** A server that restarts is waited for, this many looks long; a rollout goes on without anybody watching. */
const patience = 60

/** What a script waits for; each way not to get there has an exit code of its own. */
export interface Goal {
  /** It is through with this phase: the next one is open, or waits for a person. Without it: it has completed. */
  phase?: number | undefined
  /** Waits no longer. */
  until?: Date | undefined
}

/**
 * Shows a rollout's progress until it has ended, the goal is reached, or Ctrl-C. Returns its last view when it completed, got
 * there, or watching without a goal was stopped; throws a Failure when it failed, was cancelled, or is paused, and when the time
 * is over: a script must notice.
 */
export async function watchRollout(
  api: ApiClient,
  id: string,
  { world, out }: Pick<CommandInput, 'world' | 'out'>,
  goal?: Goal,
): Promise<RolloutView> {
  const progress = createProgress(world.stderr, () => world.now().getTime())
  let missed = 0
  let looks = 0
  let live: Live | undefined
  try {
    for (;;) {
      if (!live?.view() && missed === 0 && looks++ % looksBetweenStreams === 0) {
        live?.[Symbol.dispose]()
        live = await openLive(api, id, world.signal)
        await live?.next(everyMs)
      }
      const seen = await look(api, { id, missed, told: goesOn(live?.view()) })
      missed = seen === undefined ? missed + 1 : 0
      if (seen) {
        const { rollout, devices } = seen
        const isDone = rollout.state === 'completed'
        if (!out.isJson)
          progress.update(isDone ? devices : rollout.executed, devices, noteOf(rollout))
        if (goal && isReached(rollout, goal)) return rollout
        if (stops.has(rollout.state)) return finished(rollout, goal)
        if (world.signal.aborted && !goal) return rollout
      }
      if (world.signal.aborted) throw new Failure('failed', 'Watching was stopped')
      if (goal?.until && world.now() >= goal.until) throw tooLate(id, seen?.rollout)
      if (live?.view()) await live.next(everyMs)
      else await world.sleep(everyMs)
    }
  } finally {
    live?.[Symbol.dispose]()
    progress.end()
  }
}

/** What was told may be a second old, from before whoever watches resumed it: that it stopped is asked for. */
function goesOn(told: RolloutView | undefined): RolloutView | undefined {
  return told && !stops.has(told.state) ? told : undefined
}

/** What the server told by itself, or else tells when it is asked. Undefined when it did not answer this time. */
async function look(
  api: ApiClient,
  { id, missed, told }: { id: string; missed: number; told: RolloutView | undefined },
): Promise<{ rollout: RolloutView; devices: number } | undefined> {
  try {
    const rollout = told ?? (await api.get(RolloutView, `/rollouts/${id}`))
    const { deviceCount } = await api.get(GroupView, `/groups/${rollout.groupId}`)
    return { rollout, devices: deviceCount }
  } catch (error) {
    const isAway = error instanceof Failure && error.exitCode === exitCodes.unreachable
    if (isAway && missed < patience) return undefined
    throw error
  }
}

function isReached({ state, phase, waitsFor }: RolloutView, { phase: wanted }: Goal): boolean {
  if (wanted === undefined || state === 'completed') return state === 'completed'
  return phase > wanted || (state === 'running' && phase === wanted && waitsFor === 'hold')
}

function finished(rollout: RolloutView, goal: Goal | undefined): RolloutView {
  if (rollout.state === 'completed') return rollout
  throw new Failure(
    `rollout-${rollout.state}`,
    `The rollout is ${rollout.state}${rollout.reason === null ? '' : `: ${rollout.reason}`}`,
    {
      exitCode: (goal && stopped[rollout.state]) ?? exitCodes.failed,
      nextStep: `fleetseal rollout deployments ${rollout.id}`,
      facts: { rollout },
    },
  )
}

const stopped: Partial<Record<RolloutView['state'], ExitCode>> = {
  paused: exitCodes.paused,
  failed: exitCodes.ended,
  cancelled: exitCodes.cancelled,
}

function tooLate(id: string, rollout: RolloutView | undefined): Failure {
  return new Failure('timeout', 'The time is over; the rollout goes on without anybody waiting', {
    exitCode: exitCodes.timeout,
    nextStep: `fleetseal rollout wait ${id}`,
    facts: { rollout },
  })
}

/** `phase 1 of 2 (10%), 3 succeeded, 1 failed, 2 downloading; waits for hold`. */
export function noteOf(rollout: RolloutView): string {
  const open = rollout.phases.find((phase) => phase.no === rollout.phase)
  const busy = Object.entries(rollout.counts)
    .filter(
      ([state, count]) =>
        count > 0 && !['succeeded', 'failed_final', 'rolled_back', 'lost'].includes(state),
    )
    .map(([state, count]) => `${count} ${state}`)
  const parts = [
    `phase ${rollout.phase} of ${rollout.phases.length}${open ? ` (${open.percent}%)` : ''}`,
    `${rollout.succeeded} succeeded`,
    ...(rollout.failed > 0 ? [`${rollout.failed} failed`] : []),
    ...busy,
  ]
  const waits = rollout.waitsFor === 'hold' ? '; waits for: fleetseal rollout advance' : ''
  return `${rollout.state}: ${parts.join(', ')}${waits}`
}
