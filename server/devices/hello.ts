import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import { afterCameBack, type CameBack, endCameBack } from '../deployments/came-back.ts'
import { type LedgerEntry, recordChoices } from '../deployments/ledger.ts'
import { resendCommits } from '../deployments/wake.ts'
import { sendRenewalHints } from '../enrollment/renewal-hint.ts'
import { regroup } from '../groups/dynamic.ts'
import { type DeviceMessage, message, type MessageHandler } from '../mqtt/message.ts'
import type { BundleMessage, Have, Hello } from '../protocol/messages.ts'
import { Hello as HelloSchema } from '../protocol/messages.ts'
import { meetDevices } from '../rollouts/meet.ts'
import { type Known, lockKnown, saveSelfDescriptions, type SelfDescription } from './hello-store.ts'
import { announceIdentityChange } from './identity-change.ts'

/** `bundlesFor` of director/service.ts: the files each device lacks, signed for it. */
export type BundlesFor = (
  ctx: Context,
  requests: { deviceId: string; nonce?: string; have: Have }[],
) => Promise<Map<string, BundleMessage>>

/**
 * A device says what it is and runs, and asks for its bundle. What it says is stored before it is acknowledged; the answer
 * follows after the commit. An answer that is lost in a crash is made good by the device, which asks again.
 */
export function helloMessage(
  bundlesFor: BundlesFor,
  greeting?: { saidHello: (deviceIds: readonly string[]) => void },
): MessageHandler {
  return message({
    leaf: 'hello',
    maxBytes: 32_768,
    body: HelloSchema,
    // Before the group that it joins is stored, which may take a while: it asks, so it need not be told unasked.
    prepare: (_, { deviceId }) => {
      greeting?.saidHello([deviceId])
      return undefined
    },
    store: async ({ tx, messages, now }) => {
      const newest = new Map(messages.map((one) => [one.deviceId, one]))
      const { regrouped, cameBack } = await storeHellos(tx, [...newest.values()], now)
      return async (ctx) => {
        await afterCameBack(ctx, cameBack)
        // A group that is cut off cuts off who joins it.
        await announceIdentityChange(ctx, regrouped)
        await answerHellos(ctx, bundlesFor, [...newest.values()])
      }
    },
  })
}

/**
 * Stores a group of hellos, one a device, in six statements at most, three more for groups with a query, and one more when some
 * runs an older build than it did. Returns the devices that this put into other groups, and those that fell back. The owner's standing choice is the device's to say
 * (updates.md §7.2): where it differs from ours, the device is right, and the ledger says when we learned of it.
 */
export async function storeHellos(
  tx: Tx,
  hellos: readonly DeviceMessage<Hello>[],
  now: Date,
): Promise<{ regrouped: string[]; cameBack: CameBack }> {
  const standing = await lockKnown(
    tx,
    hellos.map(({ deviceId }) => deviceId),
  )
  const known = hellos.filter(({ deviceId }) => standing.has(deviceId))
  if (known.length === 0) return { regrouped: [], cameBack: { changes: [], tooEarly: [] } }
  const described = known.map(describe)
  await saveSelfDescriptions(tx, described)
  const fallen = described.flatMap((said) => fallenOf(said, standing.get(said.id)))
  const cameBack = await endCameBack(tx, fallen, now)
  await recordChoices(
    tx,
    known.flatMap((one) => learned(one, standing.get(one.deviceId))),
    now,
  )
  const regrouped = await regroup(
    tx,
    known.map(({ deviceId }) => deviceId),
    now,
  )
  return { regrouped, cameBack }
}

/** The owner's standing choices that we did not know of. */
function learned({ deviceId, body }: DeviceMessage<Hello>, known: Known | undefined) {
  const choices: LedgerEntry['choice'][] = []
  if (known?.optOut !== body.optOut) choices.push(body.optOut ? 'optOut' : 'optIn')
  if (body.monitoring !== undefined && known?.monitoringOff === body.monitoring) {
    choices.push(body.monitoring ? 'monitorOn' : 'monitorOff')
  }
  return choices.map((choice) => ({
    device_id: deviceId,
    deployment_id: null,
    choice,
    until: null,
    outcome: 'applied',
  }))
}

/** Components whose build is below what the device said of them before. */
function fallenOf({ id, installed }: SelfDescription, known: Known | undefined) {
  return installed
    .filter(({ component, build }) => build < (known?.builds.get(component) ?? build))
    .map(({ component, build }) => ({ deviceId: id, component, build }))
}

function describe({ deviceId, body }: DeviceMessage<Hello>): SelfDescription {
  const attributes = Object.entries(body.attributes).map(
    ([name, value]) =>
      [storable(name), typeof value === 'string' ? storable(value) : value] as const,
  )
  // One component, one slot: what a device says of it a second time is not taken.
  const installed = new Map(body.installed.toReversed().map((one) => [one.component, one]))
  return {
    id: deviceId,
    model: body.model,
    hardware_ids: body.hardwareIds.map(storable),
    agent: storable(body.agent),
    attributes: Object.fromEntries(attributes),
    installed: [...installed.values()]
      .toReversed()
      .map((one) => ({ ...one, version: storable(one.version) })),
    update_opt_out: body.optOut,
    managed_agreed: body.managed ?? false,
    monitoring_off: body.monitoring === undefined ? null : !body.monitoring,
  }
}

async function answerHellos(
  ctx: Context,
  bundlesFor: BundlesFor,
  hellos: readonly DeviceMessage<Hello>[],
): Promise<void> {
  const ids = hellos.map(({ deviceId }) => deviceId)
  await meetDevices(ctx, ids)
  const requests = hellos.map(({ deviceId, body }) => ({
    deviceId,
    nonce: body.nonce,
    have: body.have,
  }))
  const bundles = await bundlesFor(ctx, requests)
  const sessions = new Map(hellos.map(({ deviceId, session }) => [deviceId, session]))
  // A device that came anew meanwhile asks anew; the answer to another connection's question would look forged to it.
  const isThere = (deviceId: string) => {
    const session = sessions.get(deviceId)
    return !session || ctx.transport.sessionOf(deviceId) === session
  }
  await Promise.all(
    [...bundles]
      .filter(([deviceId]) => isThere(deviceId))
      .map(async ([deviceId, bundle]) => await ctx.transport.send(deviceId, 'bundle', bundle)),
  )
  await resendCommits(ctx, ids)
  await sendRenewalHints(ctx, ids)
}
