import { randomBytes, randomUUID } from 'node:crypto'

import type { KyselyPlugin } from 'kysely'
import { pino } from 'pino'

import { createLocalBus } from '../../server/bus.ts'
import { loadConfig } from '../../server/config.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { newId } from '../../server/ids.ts'
import { createMetrics } from '../../server/metrics.ts'
import type { Hello } from '../../server/protocol/messages.ts'
import { actOnRollout, createRollout, type RolloutCommand } from '../../server/rollouts/service.ts'
import { TestClock } from './clock.ts'

export interface SentMessage {
  deviceId: string
  leaf: string
  body: unknown
}

/** A context on a test database whose devices are names in a set, and what the server sent to them. */
export function rolloutWorld({ db }: DatabaseHandle) {
  const counter = new StatementCounter()
  const clock = new TestClock('2026-11-26T10:00:00Z')
  const connected = new Set<string>()
  /** The epochs of their connections, where a test cares. */
  const sessions = new Map<string, number>()
  const sent: SentMessage[] = []
  const woken: string[] = []
  const bus = createLocalBus()
  bus.subscribe('wake', (ids) => void woken.push(...ids))
  const config = { ...loadConfig({}), rolloutApprovals: 0 }
  const ctx = {
    config,
    db: db.withPlugin(counter),
    clock,
    bus,
    log: pino({ level: 'silent' }),
    metrics: createMetrics(),
    transport: {
      send: async (deviceId: string, leaf: string, body: unknown) => {
        if (!connected.has(deviceId)) return 'offline'
        sent.push({ deviceId, leaf, body })
        return 'sent'
      },
      sendToMany: async (deviceIds: readonly string[], leaf: string, body: unknown) =>
        deviceIds.map((deviceId) => {
          if (!connected.has(deviceId)) return 'offline'
          sent.push({ deviceId, leaf, body })
          return 'sent'
        }),
      disconnect: () => 0,
      isConnected: (id: string) => connected.has(id),
      sessionOf: (id: string) => sessions.get(id),
      connectedDevices: () => [...connected],
      get size() {
        return connected.size
      },
    },
  } as unknown as Context
  return {
    ctx,
    config,
    db,
    clock,
    connected,
    sessions,
    sent,
    woken,
    counter,
    by: { actor: 'key:test', requestId: 'r' },
  }
}

export type RolloutWorld = ReturnType<typeof rolloutWorld>

/** Counts statements, those inside transactions too; `begin` and `commit` are not among them. */
export class StatementCounter implements KyselyPlugin {
  statements = 0
  transformQuery({ node }: Parameters<KyselyPlugin['transformQuery']>[0]) {
    this.statements++
    return node
  }
  async transformResult({ result }: Parameters<KyselyPlugin['transformResult']>[0]) {
    return result
  }
  async during(work: () => Promise<unknown>): Promise<number> {
    const before = this.statements
    await work()
    return this.statements - before
  }
}

export interface Release {
  id: string
  sha256: string
  model: string
  component: string
  build: number
}

export async function givenGroup({ db, clock }: RolloutWorld): Promise<string> {
  const id = newId(clock.now())
  await db.insertInto('device_group').values({ id, name: id, created_at: clock.now() }).execute()
  return id
}

export async function givenRelease(
  { db, clock }: Pick<RolloutWorld, 'db' | 'clock'>,
  more: Partial<{
    model: string
    component: string
    build: number
    svn: number
    class: 'security' | 'feature' | 'config'
    version: string
    min_previous: number
    requires: Record<string, number>
    state: 'draft' | 'published'
  }> = {},
): Promise<Release> {
  const { model = 'gate-2', component = 'main', build = 10, requires = {}, ...rest } = more
  const now = clock.now()
  const id = newId(now)
  const sha256 = randomBytes(32).toString('hex')
  const artifact_id = newId(now)
  const by = { created_by: 'key:test', created_at: now }
  await db
    .insertInto('artifact')
    .values({ id: artifact_id, sha256, size: 5, name: 'a', ...by })
    .execute()
  await db
    .insertInto('model')
    .values({ id: newId(now), name: model, hardware_ids: ['rev-a'], created_at: now })
    .onConflict((oc) => oc.doNothing())
    .execute()
  await db
    .insertInto('release')
    .values({
      id,
      model,
      component,
      version: id,
      build,
      svn: 1,
      class: 'security',
      artifact_id,
      hardware_ids: ['rev-a'],
      requires: JSON.stringify(requires),
      state: 'published',
      ...by,
      ...rest,
    })
    .execute()
  return { id, sha256, model, component, build }
}

export async function givenDevices(
  { db, clock }: RolloutWorld,
  groupId: string,
  count: number,
  more: Partial<{
    state: 'registered' | 'active' | 'disabled' | 'revoked'
    model: string | null
    hardware_ids: string[]
    installed: Hello['installed']
  }> = {},
): Promise<string[]> {
  if (count === 0) return []
  const now = clock.now()
  const { installed = [installedBuild(1)], ...rest } = more
  const ids = Array.from({ length: count }, () => newId(now))
  const long = new Date(now.getTime() - 1_000_000)
  await db
    .insertInto('device')
    .values(
      ids.map((id) => ({
        id,
        name: id,
        serial_number: randomUUID(),
        state: 'active' as const,
        model: 'gate-2',
        hardware_ids: ['rev-a'],
        installed: JSON.stringify(installed),
        created_at: long,
        changed_at: long,
        ...rest,
      })),
    )
    .execute()
  await db
    .insertInto('device_group_member')
    .values(ids.map((device_id) => ({ group_id: groupId, device_id })))
    .execute()
  return ids
}

export function installedBuild(build: number, more: Partial<Hello['installed'][number]> = {}) {
  return {
    component: 'main',
    version: String(build),
    build,
    svn: 1,
    sha256: '00'.repeat(32),
    ...more,
  }
}

export interface PhaseGiven {
  percent: number
  success?: number
  minExecuted?: number
  hold?: boolean
}

export async function givenRollout(
  world: RolloutWorld,
  groupId: string,
  releaseId: string,
  phases: readonly PhaseGiven[] = [{ percent: 100 }],
  along: readonly string[] = [],
): Promise<string> {
  const id = newId(world.clock.now())
  await createRollout(world.ctx, {
    id,
    name: 'Spring update',
    releaseId,
    with: along,
    groupId,
    ...world.by,
    phases: phases.map(({ percent, success = 95, minExecuted = 1, hold = false }, n) => ({
      no: n + 1,
      percent,
      success_percent: success,
      min_executed: minExecuted,
      hold,
    })),
  })
  return id
}

export async function act(
  { ctx, by }: RolloutWorld,
  rolloutId: string,
  action: RolloutCommand['action'],
  more: Partial<RolloutCommand> = {},
) {
  return await actOnRollout(ctx, { rolloutId, action, ...by, ...more })
}
