import type { Tx } from '../db/client.ts'
import { enqueueAll } from '../outbox/outbox.ts'
import { endedStates } from '../protocol/deployment.ts'
import type { Change } from './store.ts'

/** Tells others of deployments that came to an end, or to another one, in the transaction of `saveChanges`: one statement, none where none ended. */
export async function tellEnds(tx: Tx, changes: readonly Change[], now: Date): Promise<void> {
  await enqueueAll(
    tx,
    changes
      .filter(
        ({ before, after }) => before.state !== after.state && endedStates.includes(after.state),
      )
      .map(({ after: { id, device_id: deviceId, rollout_id: rolloutId, state, code } }) => ({
        type: 'deployment.ended',
        at: now,
        deviceId,
        subject: id,
        data: { deploymentId: id, rolloutId, state, code },
      })),
  )
}
