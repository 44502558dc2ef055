import { newId } from '../../server/ids.ts'
import type { DeploymentState } from '../../server/protocol/deployment.ts'
import type { Abort } from '../../server/rollouts/abort-wire.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { createRollout } from '../../server/rollouts/service.ts'
import type { NewPhase } from '../../server/rollouts/store.ts'
import { newBuild } from './rollout-given.ts'
import { deploymentIdOf, report, update } from './rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  type Release,
  type RolloutWorld,
} from './rollout-world.ts'

/** A running rollout to a group of its own, with rules and gates. */
export async function givenRules(
  world: RolloutWorld,
  devices: number,
  abort: Abort | undefined,
  phases: Partial<NewPhase>[] = [{}],
) {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, devices)
  const release = await givenRelease(world, { build: newBuild() })
  const id = newId(world.clock.now())
  await createRollout(world.ctx, {
    id,
    name: 'Spring',
    releaseId: release.id,
    groupId,
    ...world.by,
    phases: phases.map((phase, n) => ({
      no: n + 1,
      percent: 100,
      success_percent: 95,
      min_executed: 1,
      hold: false,
      ...phase,
    })),
    settings: abort ? { abort_rules: JSON.stringify(abort) } : {},
  })
  await act(world, id, 'start')
  await meetDevices(world.ctx, ids)
  return { id, ids, release }
}
export type Ruled = Awaited<ReturnType<typeof givenRules>>

/** What devices of it say. */
export function sayings(world: RolloutWorld) {
  const say = async (id: string, deviceId: string, state: DeploymentState, code = 'net') =>
    await report(world, deviceId, await deploymentIdOf(world, id, deviceId), state, { code })
  const fail = async ({ id }: Pick<Ruled, 'id'>, ids: readonly string[], code?: string) => {
    for (const one of ids) await say(id, one, 'failed_final', code)
  }
  const succeed = async (
    { id, release }: { id: string; release: Release },
    ids: readonly string[],
  ) => {
    for (const one of ids) await update(world, one, await deploymentIdOf(world, id, one), release)
  }
  return { say, fail, succeed }
}

export async function metIn(
  { db }: RolloutWorld,
  rolloutId: string,
  phase: number,
): Promise<string[]> {
  const rows = await db
    .selectFrom('deployment')
    .select('device_id')
    .where('rollout_id', '=', rolloutId)
    .where('phase_no', '=', phase)
    .execute()
  return rows.map((row) => row.device_id)
}
