import { randomUUID } from 'node:crypto'

import { sql } from 'kysely'

import { newId } from '../../../server/ids.ts'
import { phaseColumns, settingColumns } from '../../../server/rollouts/columns.ts'
import { createRollout } from '../../../server/rollouts/service.ts'
import { RolloutBody } from '../../../server/rollouts/wire.ts'
import {
  act,
  givenGroup,
  givenRelease,
  installedBuild,
  type Release,
  type RolloutWorld,
} from '../rollout-world.ts'
import { type FleetPlan, givenTraits, type Traits } from './device.ts'
import type { Engine } from './engine.ts'
import { SeededRandom } from './random.ts'
import { RealEngine } from './real-engine.ts'

export interface Stage {
  random: SeededRandom
  traits: Traits[]
  release: Release
  rolloutId: string
}

/** The devices of a plan in the database, in a group of their own, and a rollout to it that is about to start; `definition` as an operator would give it. */
export async function givenStage(
  world: RolloutWorld,
  plan: FleetPlan,
  definition: object,
): Promise<Stage> {
  const random = new SeededRandom(plan.seed)
  const own = ownRandom(plan.seed)
  const traits = givenTraits(random, plan)
  const model = `fleet-${randomUUID().slice(0, 8)}`
  const groupId = await givenGroup(world)
  const seenAt = traits.map(({ isGone }) => {
    const agoS = isGone ? own.between(8 * 86_400, 90 * 86_400) : own.between(0, 86_400)
    return new Date(world.clock.now().getTime() - agoS * 1_000).toISOString()
  })
  const installed = JSON.stringify([installedBuild(1)])
  const ids = traits.map(({ id }) => id)
  const long = new Date(world.clock.now().getTime() - 30 * 86_400_000)
  await sql`with fleet as (
      insert into device (id, name, serial_number, state, model, hardware_ids, installed, created_at, changed_at)
      select id, id::text, id::text, 'active', ${model}, array['rev-a'], ${installed}::jsonb, ${long}, ${long}
      from unnest(${ids}::uuid[]) device(id) returning id)
    insert into device_group_member (group_id, device_id) select ${groupId}, id from fleet`.execute(
    world.db,
  )
  await sql`insert into device_presence (device_id, node_id, epoch, connected, last_seen_at)
    select id, gen_random_uuid(), 1, false, at
    from unnest(${ids}::uuid[], ${seenAt}::timestamptz[]) seen(id, at)`.execute(world.db)
  await sql`analyze device, device_group_member, device_presence`.execute(world.db)
  const release = await givenRelease(world, { model, build: 10, class: 'feature' })
  const rolloutId = newId(world.clock.now())
  const body = RolloutBody.parse({
    name: 'Simulated',
    releaseId: release.id,
    groupId,
    ...definition,
  })
  await createRollout(world.ctx, {
    id: rolloutId,
    name: body.name,
    releaseId: release.id,
    groupId,
    phases: phaseColumns(body.phases),
    settings: settingColumns(body),
    ...world.by,
  })
  await world.db
    .updateTable('rollout')
    .set({ seed: rolloutSeedOf(plan.seed) })
    .where('id', '=', rolloutId)
    .execute()
  return { random, traits, release, rolloutId }
}

/** Who comes first is the rollout's to draw; here it is the seed's. */
export function rolloutSeedOf(seed: number): Buffer {
  return new SeededRandom(seed ^ 0x5eed).bytes(16)
}

/** What only this engine has to draw must not change what the devices draw. */
function ownRandom(seed: number): SeededRandom {
  return new SeededRandom(seed ^ 0x0a11)
}

/** Starts the rollout. */
export async function startEngine(
  world: RolloutWorld,
  { traits, release, rolloutId }: Stage,
): Promise<Engine> {
  await act(world, rolloutId, 'start')
  const ids = traits.map(({ id }) => id)
  return new RealEngine(world, ids, { rolloutId, release })
}
