import { type KeyObject, randomBytes } from 'node:crypto'

import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { actOnAuthority, createAuthority } from '../../server/authorities/service.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { renew } from '../../server/enrollment/renew.ts'
import { sendRenewalHints } from '../../server/enrollment/renewal-hint.ts'
import { newId } from '../../server/ids.ts'
import type { Command } from '../../server/protocol/messages.ts'
import { bucketOf } from '../../server/rollouts/bucket.ts'
import { actOnRollout, createRollout } from '../../server/rollouts/service.ts'
import type { NewPhase } from '../../server/rollouts/store.ts'
import { by, createIdentityWorld, type Enrolled, type IdentityWorld } from './identity-world.ts'

export const wholeGroup = {
  no: 1,
  percent: 100,
  success_percent: 95,
  min_executed: 1,
  hold: false,
}

export type RenewalWorld = Awaited<ReturnType<typeof createRenewalWorld>>

/** Certificates, and rollouts of them, to devices that are always connected and that the test moves. */
export async function createRenewalWorld(handle: DatabaseHandle) {
  const world = await createIdentityWorld(handle)
  let sent: { deviceId: string; body: Command }[] = []
  const transport = {
    send: async (deviceId: string, _leaf: string, body: Command) => {
      sent.push({ deviceId, body })
      return 'sent'
    },
    isConnected: () => true,
    connectedDevices: () => [],
  }
  const ctx = Object.assign(world.ctx, { transport }) as unknown as RenewalContext
  const hint = async (ids: readonly string[]) => {
    sent = []
    await sendRenewalHints(ctx, ids)
    return sent.map(({ deviceId }) => deviceId).toSorted()
  }

  return {
    base: world,
    ctx,
    sent: () => sent,
    hint,
    ...renewalGivens(world, ctx),
    ...renewalActions(ctx),
    [Symbol.asyncDispose]: () => world[Symbol.asyncDispose](),
  }
}

type RenewalContext = Context & IdentityWorld['ctx']

function renewalGivens(world: IdentityWorld, ctx: RenewalContext) {
  const issuers: string[] = []
  const id = () => newId(ctx.clock.now())
  async function givenFleet(count: number) {
    const groupId = await world.givenGroup()
    const profile = await world.givenProfile({ groupId })
    // Not open yet: only a rollout lets them renew.
    await world.givenEstPolicy(profile.id, {})
    const devices: Enrolled[] = []
    for (let n = 0; n < count; n++) devices.push(await world.givenDevice({ profile }))
    return { groupId, profile, devices, ids: devices.map(({ deviceId }) => deviceId) }
  }

  /** A new issuer; the clock goes on, so that what is made next is later. */
  async function givenIssuer(isActive = true): Promise<string> {
    // Only so many may be in use at the same time: three take turns.
    const again = issuers.length < 3 || !isActive ? undefined : issuers.shift()
    const issuer = again ?? (await createAuthority(ctx, { id: id(), purpose: 'devices', ...by })).id
    if (isActive) {
      await actOnAuthority(ctx, { id: issuer, action: 'activate', ...by })
      issuers.push(issuer)
    }
    ctx.clock.advance({ seconds: 1 })
    return issuer
  }

  async function givenCampaign(
    groupId: string,
    target: {
      certificate_issuer?: string
      certificate_before?: Date
      install_window?: unknown
      max_in_flight?: number
    },
    phases: readonly NewPhase[] = [wholeGroup],
  ) {
    const rolloutId = id()
    const settings = { kind: 'certificate' as const, ...target }
    await createRollout(ctx, { id: rolloutId, name: 'renew', groupId, phases, settings, ...by })
    return rolloutId
  }

  return { givenFleet, givenIssuer, givenCampaign }
}

function renewalActions(ctx: RenewalContext) {
  /** Draws until each half of the rollout has somebody. */
  async function splitFairly(rolloutId: string, ids: readonly string[]): Promise<void> {
    for (;;) {
      const seed = randomBytes(16)
      const first = ids.filter((one) => bucketOf(seed, one) < 0.5).length
      if (first < 3 || first > ids.length - 3) continue
      await ctx.db.updateTable('rollout').set({ seed }).where('id', '=', rolloutId).execute()
      return
    }
  }

  const act = async (rolloutId: string, action: 'start' | 'pause' | 'resume' | 'cancel') =>
    await actOnRollout(ctx, { rolloutId, action, ...by })

  async function renewOne(device: Enrolled, key: KeyObject = generatePrivateKey('P-256')) {
    const { subject } = parseCertificate(device.der)
    const csr = parseCsr(buildCsr(key, { subject, uris: [`urn:uuid:${device.deviceId}`] }))
    const verdict = await ctx.identities.check(device.fingerprint)
    if (!verdict.allowed) throw new Error(verdict.refusal)
    return await renew(ctx, { identity: verdict.identity, csr, label: undefined })
  }

  /** The device shows it in a handshake. */
  const use = async (der: Buffer) => await ctx.identities.check(fingerprint(der))

  async function statesOf(rolloutId: string): Promise<Record<string, string>> {
    const rows = await ctx.db
      .selectFrom('deployment')
      .select(['device_id', 'state'])
      .where('rollout_id', '=', rolloutId)
      .execute()
    return Object.fromEntries(rows.map(({ device_id, state }) => [device_id, state]))
  }

  return { splitFairly, act, renewOne, use, statesOf }
}
