import { newId } from '../../server/ids.ts'
import { getDefinition } from '../../server/rollouts/approval.ts'
import { editRollout, type EditCommand } from '../../server/rollouts/edit.ts'
import {
  actOnRollout,
  createRollout,
  type NewRolloutCommand,
} from '../../server/rollouts/service.ts'
import { newBuild } from './rollout-given.ts'
import { givenDevices, givenGroup, givenRelease, type RolloutWorld } from './rollout-world.ts'

export const author = 'key:ada'
export const ben = 'key:ben'
export const cleo = 'key:cleo'

/** One phase as the table has it. */
export const phaseRow = (no: number, percent: number) => ({
  no,
  percent,
  success_percent: 95,
  min_executed: 1,
  hold: false,
})

/** A draft of Ada's, to a group of its own. */
export async function givenDraft(
  world: RolloutWorld,
  more: Partial<NewRolloutCommand> & { devices?: number } = {},
) {
  const { devices = 0, ...command } = more
  const groupId = await givenGroup(world)
  const ids = await givenDevices(world, groupId, devices)
  const { id: releaseId } = await givenRelease(world, { build: newBuild() })
  const id = newId(world.clock.now())
  await createRollout(world.ctx, {
    id,
    name: 'Spring update',
    releaseId,
    groupId,
    phases: [phaseRow(1, 100)],
    actor: author,
    requestId: 'r',
    ...command,
  })
  return { id, ids, releaseId }
}

/** The word of somebody who saw the definition as it is now, or the one given. */
export async function approve(
  { ctx, db }: RolloutWorld,
  rolloutId: string,
  actor: string,
  definitionHash?: string,
) {
  const seen = definitionHash ?? (await getDefinition(db, rolloutId)).definitionHash
  const command = { rolloutId, action: 'approve', actor, requestId: 'r' } as const
  return await actOnRollout(ctx, { ...command, definitionHash: seen })
}

export async function edit(
  { ctx }: RolloutWorld,
  rolloutId: string,
  command: Partial<EditCommand>,
  actor = author,
) {
  return await editRollout(ctx, { rolloutId, actor, requestId: 'r', ...command })
}

export async function auditOf({ db }: RolloutWorld, subject: string) {
  return await db
    .selectFrom('audit_event')
    .select(['action', 'actor', 'facts'])
    .where('subject', '=', subject)
    .orderBy('seq')
    .execute()
}
