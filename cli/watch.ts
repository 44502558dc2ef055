import { GroupView } from '../server/groups/wire.ts'
import { RolloutView } from '../server/rollouts/wire.ts'
import type { ApiClient } from './client.ts'
import type { CommandInput } from './command.ts'
import { Failure } from './failure.ts'
import { createProgress } from './progress.ts'

const everyMs = 1_000
const ended = new Set<RolloutView['state']>(['completed', 'failed', 'cancelled'])

/**
 * Shows a rollout's progress until it has ended or Ctrl-C. Returns its last view when it completed or watching was
 * stopped; throws a Failure when it failed, was cancelled, or paused by itself: a script must notice.
 */
export async function watchRollout(
  api: ApiClient,
  id: string,
  { world, out }: Pick<CommandInput, 'world' | 'out'>,
): Promise<RolloutView> {
  const progress = createProgress(world.stderr, () => world.now().getTime())
  try {
    for (;;) {
      const rollout = await api.get(RolloutView, `/rollouts/${id}`)
      const { deviceCount } = await api.get(GroupView, `/groups/${rollout.groupId}`)
      if (!out.isJson) progress.update(rollout.executed, deviceCount, noteOf(rollout))
      if (ended.has(rollout.state) || rollout.state === 'paused' || world.signal.aborted) {
        progress.end()
        return finished(rollout)
      }
      await world.sleep(everyMs)
    }
  } finally {
    progress.end()
  }
}

function finished(rollout: RolloutView): RolloutView {
  if (rollout.state === 'completed' || rollout.state === 'running') return rollout
  throw new Failure(
    `rollout-${rollout.state}`,
    `The rollout is ${rollout.state}${rollout.reason === null ? '' : `: ${rollout.reason}`}`,
    {
      nextStep: `fleetseal rollout deployments ${rollout.id}`,
      facts: { rollout },
    },
  )
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
