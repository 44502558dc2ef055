import type { RolloutView } from '../server/rollouts/wire.ts'
import type { ApiClient } from './api.ts'
import type { CommandInput, Option } from './command.ts'
import { usageError } from './failure.ts'
import type { Values } from './values.ts'
import { type Goal, watchRollout } from './watch.ts'

export const goalOptions: Record<string, Option> = {
  'wait-phase': { type: 'string', value: 'N', about: 'only until it is through with this phase' },
  'wait-limit': { type: 'string', value: 'SPAN', about: 'wait no longer, e.g. 45m, 12h, 2d' },
}

export const followOptions: Record<string, Option> = {
  watch: { type: 'boolean', about: 'stay and show a progress bar until it has ended' },
  wait: { type: 'boolean', about: 'the same for a script, with an exit code for each end' },
  ...goalOptions,
}

/** Does the command stay until the rollout has got somewhere? */
export function follows(values: Values): boolean {
  return values.flag('watch') || waits(values)
}

function waits(values: Values): boolean {
  return ['wait-phase', 'wait-limit'].some((name) => values.text(name)) || values.flag('wait')
}

/** Stays as the options say; without them it returns at once with what is known already. */
export async function follow(
  api: ApiClient,
  rollout: RolloutView,
  { values, out, world }: Pick<CommandInput, 'values' | 'out' | 'world'>,
): Promise<RolloutView> {
  if (!follows(values)) return rollout
  const goal = waits(values) ? goalOf(values, world.now()) : undefined
  return await watchRollout(api, rollout.id, { out, world }, goal)
}

export function goalOf(values: Values, now: Date): Goal {
  const phase = values.number('wait-phase')
  if (phase !== undefined && !Number.isInteger(phase)) {
    throw usageError(`--wait-phase must be the number of a phase, not ${phase}`)
  }
  const until = values.instant('wait-limit', now)
  return { phase, until: until === undefined ? undefined : new Date(until) }
}
