import type { Tx } from '../db/client.ts'
import { storableInstant } from '../db/storable.ts'
import { setMonitoring } from '../devices/standing-choice.ts'
import type { DeviceMessage } from '../mqtt/message.ts'
import type { Choice } from '../protocol/messages.ts'
import { recordChoices } from './ledger.ts'

/** Stores owners' choices about logging and monitoring: of each device the newest. One that says what is so already leaves no trace. */
export async function storeMonitoring(
  tx: Tx,
  messages: readonly DeviceMessage<Choice>[],
  now: Date,
): Promise<void> {
  const newest = new Map(messages.map(({ deviceId, body }) => [deviceId, body]))
  const wanted = new Map(
    [...newest].map(([deviceId, { choice }]) => [deviceId, { off: choice === 'monitorOff' }]),
  )
  const changed = await setMonitoring(tx, wanted)
  await recordChoices(
    tx,
    [...newest]
      .filter(([deviceId]) => changed.has(deviceId))
      .map(([deviceId, { choice, at }]) => ({
        device_id: deviceId,
        deployment_id: null,
        choice,
        until: null,
        outcome: 'applied',
        version: null,
        text_sha256: null,
        chosen_at: storableInstant(at) ?? null,
      })),
    now,
  )
}
