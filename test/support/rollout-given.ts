import { meetDevices } from '../../server/rollouts/meet.ts'
import { deploymentIdOf, deploymentOf } from './rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  type PhaseGiven,
  type RolloutWorld,
} from './rollout-world.ts'

type ReleaseGiven = Parameters<typeof givenRelease>[1]

let nextBuild = 100
/** Every release of a test file is newer than the ones before it. */
export const newBuild = () => nextBuild++

/** A running rollout to a group of its own. */
export async function givenStarted(
  world: RolloutWorld,
  devices: number,
  phases?: readonly PhaseGiven[],
  more: ReleaseGiven = {},
) {
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, devices)
  const release = await givenRelease(world, { build: newBuild(), ...more })
  const rolloutId = await givenRollout(world, groupId, release.id, phases)
  await act(world, rolloutId, 'start')
  return { groupId, ids, release, rolloutId }
}

/** The same, in one phase that met everybody. */
export async function givenMet(world: RolloutWorld, devices: number, more: ReleaseGiven = {}) {
  const started = await givenStarted(world, devices, undefined, more)
  await meetDevices(world.ctx, started.ids)
  const deployments: string[] = []
  for (const id of started.ids) {
    deployments.push(await deploymentIdOf(world, started.rolloutId, id))
  }
  return { ...started, deployments }
}

/** The same with one device. */
export async function givenOne(world: RolloutWorld, more: ReleaseGiven = {}) {
  const { ids, deployments, ...rest } = await givenMet(world, 1, more)
  const [device = ''] = ids
  const [id = ''] = deployments
  const row = async () => {
    const found = await deploymentOf(world, rest.rolloutId, device)
    if (!found) throw new Error('gone')
    return found
  }
  return { ...rest, device, id, row }
}

/** Security events about a device, as `kind severity`. */
export async function eventsOf({ db }: RolloutWorld, device: string): Promise<string[]> {
  const rows = await db
    .selectFrom('security_event')
    .select(['kind', 'severity'])
    .where('device_id', '=', device)
    .orderBy('id')
    .execute()
  return rows.map(({ kind, severity }) => `${kind} ${severity}`)
}

/** What its owner chose, as `choice outcome`. */
export async function ledgerOf({ db }: RolloutWorld, device: string): Promise<string[]> {
  const rows = await db
    .selectFrom('choice_event')
    .select(['choice', 'outcome', 'deployment_id'])
    .where('device_id', '=', device)
    .orderBy('seq')
    .execute()
  return rows.map(
    ({ choice, outcome, deployment_id }) =>
      `${choice} ${outcome}${deployment_id ? '' : ' (standing)'}`,
  )
}

/** Its states and who moved it there, as `state actor`. */
export async function historyOf({ db }: RolloutWorld, deploymentId: string): Promise<string[]> {
  const rows = await db
    .selectFrom('deployment_event')
    .select(['to_state', 'actor'])
    .where('deployment_id', '=', deploymentId)
    .orderBy('seq')
    .execute()
  return rows.map(({ to_state, actor }) => `${to_state} ${actor}`)
}
