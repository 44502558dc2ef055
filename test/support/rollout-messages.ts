import { randomBytes } from 'node:crypto'

import { inTransaction } from '../../server/db/transaction.ts'
import { deploymentMessages } from '../../server/deployments/messages.ts'
import { helloMessage } from '../../server/devices/hello.ts'
import type { Peer } from '../../server/mqtt/message.ts'
import type { DeploymentState } from '../../server/protocol/deployment.ts'
import type { Choice, Hello, Report } from '../../server/protocol/messages.ts'
import { installedBuild, type Release, type RolloutWorld } from './rollout-world.ts'

const handlers = [helloMessage(async () => new Map()), ...deploymentMessages]

/** Stores a group of messages of one kind as the broker does, and does what follows the commit. */
export async function receive(
  { ctx, clock }: RolloutWorld,
  leaf: 'hello' | 'report' | 'choice',
  messages: readonly { deviceId: string; body: unknown; peer?: Peer }[],
): Promise<void> {
  const handler = handlers.find((one) => one.leaf === leaf)
  if (!handler) throw new Error('no such handler')
  const parsed = await Promise.all(
    messages.map(async ({ deviceId, body, peer }) => {
      const read = handler.parse(Buffer.from(JSON.stringify(body)))
      if (!read) throw new Error(`malformed ${leaf}`)
      const prepared = peer && handler.prepare?.(read.body, peer)
      return { deviceId, body: prepared ? await prepared : read.body }
    }),
  )
  const now = clock.now()
  const after = await inTransaction(ctx.db, (tx) =>
    handler.store({ tx, ctx, now, messages: parsed }),
  )
  if (after) await after(ctx)
}

let instants = Date.parse('2026-11-26T10:00:00Z')

/** Each at an instant of its own, as a device's clock has it. */
export async function report(
  world: RolloutWorld,
  deviceId: string,
  deploymentId: string,
  state: DeploymentState,
  more: Partial<Report> = {},
): Promise<void> {
  const at = new Date(instants++).toISOString()
  await receive(world, 'report', [{ deviceId, body: { deploymentId, state, at, ...more } }])
}

export async function choose(world: RolloutWorld, deviceId: string, body: Choice): Promise<void> {
  await receive(world, 'choice', [{ deviceId, body }])
}

export function helloOf(more: Partial<Hello> = {}): Hello {
  return {
    agent: 'test',
    model: 'gate-2',
    hardwareIds: ['rev-a'],
    installed: [installedBuild(1)],
    attributes: {},
    nonce: randomBytes(16).toString('hex'),
    have: {},
    optOut: false,
    ...more,
  }
}

export async function hello(
  world: RolloutWorld,
  deviceId: string,
  more: Partial<Hello> = {},
): Promise<void> {
  await receive(world, 'hello', [{ deviceId, body: helloOf(more) }])
}

export async function deploymentOf({ db }: RolloutWorld, rolloutId: string, deviceId: string) {
  return await db
    .selectFrom('deployment')
    .selectAll()
    .where('rollout_id', '=', rolloutId)
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
}

export async function deploymentIdOf(
  world: RolloutWorld,
  rolloutId: string,
  deviceId: string,
): Promise<string> {
  const row = await deploymentOf(world, rolloutId, deviceId)
  if (!row) throw new Error('this device has no deployment')
  return row.id
}

/** The whole way, proof included. */
export async function update(
  world: RolloutWorld,
  deviceId: string,
  deploymentId: string,
  { sha256, build }: Release,
): Promise<void> {
  await report(world, deviceId, deploymentId, 'testing')
  await hello(world, deviceId, { installed: [installedBuild(build, { sha256 })] })
  const row = await world.db
    .selectFrom('deployment')
    .select('commit_nonce')
    .where('id', '=', deploymentId)
    .executeTakeFirstOrThrow()
  const commitNonce = row.commit_nonce ?? ''
  await report(world, deviceId, deploymentId, 'succeeded', { commitNonce, sha256 })
}
