import { Polls } from '../../server/ddi/polls.ts'
import { ddiWorkers, createQuietDevices } from '../../server/ddi/workers.ts'
import { newId } from '../../server/ids.ts'
import type { Worker } from '../../server/workers/worker.ts'
import type { RolloutWorld } from './rollout-world.ts'

export interface RootAnswer {
  config: { polling: { sleep: string } }
  _links: Record<string, { href: string }>
}

/** Devices of a world poll, with the profile whose model proves its updates by an attribute. */
export async function givenPolling(
  { db, clock }: RolloutWorld,
  deviceIds: readonly string[],
  more: { poll_seconds?: number; profile?: 'swupdate' | 'generic' } = {},
): Promise<void> {
  const now = clock.now()
  const rules = { profile: 'generic' as const, poll_seconds: 300, ...more }
  await db
    .insertInto('model')
    .values({ id: newId(now), name: 'gate-2', hardware_ids: ['rev-a'], created_at: now })
    .onConflict((oc) => oc.doNothing())
    .execute()
  await db
    .insertInto('ddi_product')
    .values({
      model: 'gate-2',
      component: 'main',
      part: 'os',
      version_attribute: 'swVersion',
      changed_at: now,
      ...rules,
    })
    .onConflict((oc) => oc.column('model').doUpdateSet({ ...rules, changed_at: now }))
    .execute()
  await db
    .insertInto('ddi_device')
    .values(
      deviceIds.map((id) => ({
        device_id: id,
        controller_id: id,
        wants_attributes: false,
        created_at: now,
      })),
    )
    .execute()
}

/** One process that devices poll, with its worker, which looks when it is told to, and a memory whose time passes when it is told to. */
export async function pollingProcess({ ctx }: RolloutWorld) {
  let nowMs = 1_000
  const quiet = createQuietDevices(ctx, () => nowMs)
  const polls = new Polls(ctx, quiet)
  const [worker] = ddiWorkers(ctx, quiet) as [Worker]
  const look = async () => void (await worker.step(new AbortController().signal))
  const poll = async (deviceId: string, said = deviceId): Promise<RootAnswer> => {
    const where = { host: 'localhost', port: 8443, tenant: 'DEFAULT' }
    const { body } = await polls.answer({ deviceId, said, agent: 'test', where })
    return body as unknown as RootAnswer
  }
  // Looks only while somebody polls.
  quiet.get('')
  await look()
  const pass = (ms: number) => void (nowMs += ms)
  return { quiet, polls, look, poll, pass }
}

export type PollingProcess = Awaited<ReturnType<typeof pollingProcess>>
