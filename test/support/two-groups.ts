import { artifactRoutes } from '../../server/artifacts/routes.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { exportRoutes } from '../../server/deployments/export-routes.ts'
import { deploymentRoutes } from '../../server/deployments/routes.ts'
import { eventRoutes } from '../../server/events/routes.ts'
import { newId } from '../../server/ids.ts'
import { derivedRolloutRoutes } from '../../server/rollouts/derived-routes.ts'
import { explainRoutes } from '../../server/rollouts/explain-routes.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { penaltyRoutes } from '../../server/rollouts/penalty-routes.ts'
import { rolloutRoutes } from '../../server/rollouts/routes.ts'
import { windowRoutes } from '../../server/rollouts/window-routes.ts'
import { settingsRoutes } from '../../server/settings/routes.ts'
import { deploymentIdOf, report } from './rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  rolloutWorld,
} from './rollout-world.ts'
import { type Call, serveScoped } from './scoped.ts'

const routes = [
  ...rolloutRoutes,
  ...derivedRolloutRoutes,
  ...explainRoutes,
  ...penaltyRoutes,
  ...windowRoutes,
  ...deploymentRoutes,
  ...exportRoutes,
  ...settingsRoutes,
  ...artifactRoutes,
  ...eventRoutes,
]

/** A rollout to each of two groups with two devices each, one of which failed, and one device in both; `ada` is limited to the first group. */
export async function twoGroups(handle: DatabaseHandle) {
  const world = rolloutWorld(handle)
  const server = await serveScoped(world.ctx, routes)
  const release = await givenRelease(world)
  const groups = { mine: await givenGroup(world), theirs: await givenGroup(world) }
  const devices = {
    mine: await givenDevices(world, groups.mine, 2),
    theirs: await givenDevices(world, groups.theirs, 2),
  }
  const both = devices.mine[1] ?? ''
  await world.db
    .insertInto('device_group_member')
    .values({ group_id: groups.theirs, device_id: both })
    .execute()
  const rollouts = { mine: '', theirs: '' }
  const deployments = { mine: '', theirs: '' }
  // The first one goes first, for a device in both groups.
  for (const name of ['theirs', 'mine'] as const) {
    world.clock.advance({ seconds: 1 })
    rollouts[name] = await givenRollout(world, groups[name], release.id)
    await act(world, rollouts[name], 'start')
    await meetDevices(world.ctx, devices[name])
    const [first = ''] = devices[name]
    deployments[name] = await deploymentIdOf(world, rollouts[name], first)
    await report(world, first, deployments[name], 'rolled_back', { code: 'health' })
  }
  const ada: Call = async (...call) => await server.as([[groups.mine]])(...call)
  const fleet: Call = async (...call) => await server.as('fleet')(...call)
  return {
    world,
    server,
    release,
    groups,
    devices,
    both,
    rollouts,
    deployments,
    ada,
    fleet,
    missing: () => newId(world.clock.now()),
  }
}

export type TwoGroups = Awaited<ReturnType<typeof twoGroups>>
