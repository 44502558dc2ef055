import { createHash, randomBytes } from 'node:crypto'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { ddiRouter } from '../../server/ddi/router.ts'
import { newId } from '../../server/ids.ts'
import type { DdiProfile } from '../../server/protocol/ddi.ts'
import { listenAsDevice } from './device-listener.ts'
import { newBuild } from './rollout-given.ts'
import { deploymentIdOf, deploymentOf } from './rollout-messages.ts'
import {
  act,
  givenDevices,
  givenGroup,
  givenRelease,
  givenRollout,
  rolloutWorld,
  type RolloutWorld,
} from './rollout-world.ts'

/** A rollout world whose devices poll by HTTP; the certificate's part is played by the listener. */
export async function ddiWorld(handle: DatabaseHandle) {
  const images = new Map<string, Buffer>()
  const base = rolloutWorld(handle)
  const ctx = Object.assign(base.ctx, {
    nodeId: newId(base.clock.now()),
    config: { ...base.ctx.config, publicHost: 'ota.example', ports: { device: 8_443 } },
    identities: { sweep: async () => {} },
    storage: {
      open: async (sha256: string) => {
        const bytes = images.get(sha256)
        return bytes && openBytes(bytes)
      },
    },
  }) as RolloutWorld['ctx']
  const listener = await listenAsDevice(ddiRouter(ctx))
  return {
    ...base,
    ctx,
    images,
    listener,
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  }
}

export type DdiWorld = Awaited<ReturnType<typeof ddiWorld>>

function openBytes(bytes: Buffer) {
  return {
    size: bytes.length,
    read: async (target: Buffer, at: number, length: number) =>
      bytes.copy(target, 0, at, Math.min(bytes.length, at + length)),
    [Symbol.asyncDispose]: async () => {},
  }
}

export interface Reply {
  status: number
  headers: Record<string, string>
  bytes: Buffer
  // oxlint-disable-next-line typescript/no-explicit-any -- whatever the server said, compared whole
  json: any
}

/** One polling device of a group and, if it has one, its rollout. */
export class Polling {
  readonly world: DdiWorld
  readonly id: string
  readonly groupId: string

  constructor(world: DdiWorld, id: string, groupId: string) {
    this.world = world
    this.id = id
    this.groupId = groupId
  }

  /** Where it finds itself. */
  get base(): string {
    return `https://ota.example:8443/DEFAULT/controller/v1/${this.id}`
  }

  async call(
    method: string,
    at: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const { listener } = this.world
    listener.deviceId = this.id
    const path = at.startsWith('https:')
      ? at.slice('https://ota.example:8443'.length)
      : `/DEFAULT/controller/v1/${this.id}${at}`
    const isReady = body === undefined || typeof body === 'string' || Buffer.isBuffer(body)
    const sent = isReady ? body : JSON.stringify(body)
    const reply = await fetch(`${listener.url}${path}`, {
      method,
      headers,
      ...(sent === undefined ? {} : { body: Buffer.isBuffer(sent) ? new Uint8Array(sent) : sent }),
    })
    const bytes = Buffer.from(await reply.arrayBuffer())
    const isJson = reply.headers.get('content-type')?.includes('json') ?? false
    return {
      status: reply.status,
      headers: Object.fromEntries(reply.headers),
      bytes,
      json: isJson ? (JSON.parse(bytes.toString()) as unknown) : undefined,
    }
  }

  /** Names of the links of a poll. */
  async links(): Promise<string[]> {
    const { status, json } = await this.call('GET', '')
    if (status !== 200) throw new Error(`a poll was answered ${status}`)
    return Object.keys((json as { _links: object })._links)
  }

  async tell(
    execution: string,
    finished = 'none',
    { id = 1_000_000_001, details = [] as string[], kind = 'deploymentBase' } = {},
  ): Promise<number> {
    const status = { execution, result: { finished }, details }
    return (await this.call('POST', `/${kind}/${id}/feedback`, { id, status })).status
  }

  async says(version: string): Promise<number> {
    return (await this.call('PUT', '/configData', { data: { swVersion: version } })).status
  }
}

/** The client that devices of the model run from now on. */
export async function givenClient(
  { db, clock }: DdiWorld,
  profile: DdiProfile,
  { attribute = 'swVersion' as string | null } = {},
): Promise<void> {
  const now = clock.now()
  await db
    .insertInto('model')
    .values({ id: newId(now), name: 'gate-2', hardware_ids: ['rev-a'], created_at: now })
    .onConflict((oc) => oc.doNothing())
    .execute()
  const rules = {
    profile,
    part: profile === 'zephyr' ? 'bApp' : 'os',
    version_attribute: attribute,
    poll_seconds: 300,
    component: 'main',
    changed_at: now,
  }
  await db
    .insertInto('ddi_product')
    .values({ model: 'gate-2', ...rules })
    .onConflict((oc) => oc.column('model').doUpdateSet(rules))
    .execute()
}

export async function givenPollingDevice(world: DdiWorld): Promise<Polling> {
  const groupId = await givenGroup(world)
  const [id = ''] = await givenDevices(world, groupId, 1)
  const row = { device_id: id, controller_id: id, wants_attributes: false }
  await world.db
    .insertInto('ddi_device')
    .values({ ...row, created_at: world.clock.now() })
    .execute()
  return new Polling(world, id, groupId)
}

/** A release with an image of so many bytes, rolled out to the device's group and running. */
export async function givenUpdate(
  device: Polling,
  { bytes = 1_000, name = 'gate.swu', kind = 'security' as 'security' | 'feature' } = {},
) {
  const { world } = device
  const image = randomBytes(bytes)
  const sha256 = createHash('sha256').update(image).digest('hex')
  const build = newBuild()
  const version = `1.0.${build}`
  const release = await givenRelease(world, { build, version, class: kind })
  await world.db
    .updateTable('artifact')
    .set({ sha256, size: image.length, name })
    .where('sha256', '=', release.sha256)
    .execute()
  world.images.set(sha256, image)
  const rolloutId = await givenRollout(world, device.groupId, release.id)
  await act(world, rolloutId, 'start')
  const row = async () => {
    const found = await deploymentOf(world, rolloutId, device.id)
    if (!found) throw new Error('there is no deployment')
    return found
  }
  return {
    image,
    sha256,
    version,
    rolloutId,
    row,
    id: async () => await deploymentIdOf(world, rolloutId, device.id),
    state: async () => (await row()).state,
    pause: async () => await act(world, rolloutId, 'pause'),
    resume: async () => await act(world, rolloutId, 'resume'),
  }
}
