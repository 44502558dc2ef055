import type { Context } from '../context.ts'
import { silentlyQueued } from './end-store.ts'
import { wakeDevices } from './wake.ts'

/** A device verifies a bundle and answers in well under this. */
const patienceMs = 60_000

/** Wakes those of these devices that have been told of an update, or of an override, or that their new image is seen, and did nothing: the message, or the answer, was lost. */
export async function nudgeSilent(
  ctx: Pick<Context, 'db' | 'clock' | 'bus'>,
  deviceIds: readonly string[],
): Promise<void> {
  const now = ctx.clock.now()
  const since = new Date(now.getTime() - patienceMs)
  await wakeDevices(ctx, await silentlyQueued(ctx.db, deviceIds, { since, now }))
}
