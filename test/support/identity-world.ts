import type { KeyObject } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import type { z } from 'zod'

import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { generatePrivateKey, type KeyAlgorithm } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { fingerprint } from '../../pki/x509/parse.ts'
import { bootstrapAuthorities } from '../../server/authorities/bootstrap.ts'
import { loadKek } from '../../server/authorities/kek.ts'
import { loadAuthorities } from '../../server/authorities/load.ts'
import { type Bus, createLocalBus } from '../../server/bus.ts'
import { loadConfig } from '../../server/config.ts'
import { ConnectionIndex } from '../../server/connections.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createIdentityDirectory, type RunningDirectory } from '../../server/devices/directory.ts'
import { enroll } from '../../server/enrollment/enroll.ts'
import { setEstPolicy } from '../../server/enrollment/est-policy.ts'
import { createProfile, createToken, hashToken } from '../../server/enrollment/service.ts'
import { findProfile, findTokenByHash } from '../../server/enrollment/store.ts'
import { EstPolicyBody, NewProfileBody } from '../../server/enrollment/wire.ts'
import { flushEvents } from '../../server/events/record.ts'
import { createGroup } from '../../server/groups/service.ts'
import { newId } from '../../server/ids.ts'
import { createLogger } from '../../server/log.ts'
import { createMetrics } from '../../server/metrics.ts'
import { noTransport } from '../../server/mqtt/transport.ts'
import { TestClock } from './clock.ts'

export const by = { actor: 'key:test', requestId: 'test', reach: 'fleet' } as const

export type WorldContext = Omit<Context, 'storage' | 'clock' | 'identities'> & {
  clock: TestClock
  identities: RunningDirectory
}

export interface Enrolled {
  serialNumber: string
  key: KeyObject
  csr: Buffer
  der: Buffer
  deviceId: string
  certificateId: string
  fingerprint: string
}

export interface IdentityWorld extends AsyncDisposable {
  ctx: WorldContext
  /** Another process on the same database and keys, with a directory of its own. */
  another: (bus?: Bus) => Promise<WorldContext>
  givenGroup: () => Promise<string>
  givenProfile: (
    body?: Partial<NewProfileBody>,
  ) => Promise<{ id: string; name: string; groupId: string }>
  /** What is left out has its default. */
  givenEstPolicy: (profileId: string, body: z.input<typeof EstPolicyBody>) => Promise<void>
  givenToken: (
    profileId: string,
    limits?: { maxUses?: number; expiresAt?: Date },
  ) => Promise<string>
  /** By the service, without HTTP. */
  enrollWith: (token: string, csr: Buffer, ctx?: WorldContext) => Promise<Buffer>
  /** A device of a new profile, active. */
  givenDevice: (options?: { profile?: { id: string }; serialNumber?: string }) => Promise<Enrolled>
}

let count = 0
/** A name nobody else in this run uses. */
export function unique(prefix: string): string {
  count += 1
  return `${prefix}-${process.pid}-${count}`
}

export function newRequest(
  serialNumber: string,
  {
    algorithm = 'P-256',
    key,
    uris,
  }: { algorithm?: KeyAlgorithm; key?: KeyObject; uris?: string[] } = {},
): { key: KeyObject; csr: Buffer } {
  const own = key ?? generatePrivateKey(algorithm)
  return {
    key: own,
    csr: buildCsr(own, { subject: encodeName({ commonName: serialNumber }), uris }),
  }
}

/** Certificate authorities, enrollment and the directory on a test database, without listeners. */
export async function createIdentityWorld(
  handle: DatabaseHandle,
  environment: Record<string, string> = {},
  { foundedDaysAgo = 0 }: { foundedDaysAgo?: number } = {},
): Promise<IdentityWorld> {
  const stack = new AsyncDisposableStack()
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetseal-identity-'))
  stack.defer(() => rm(dataDir, { recursive: true, force: true }))
  const config = loadConfig({ FLEETSEAL_DATA_DIR: dataDir, ...environment })
  const log = createLogger('silent')
  const kek = await loadKek(config)
  const clock = new TestClock()
  const installation = { db: handle.db, clock, log, config, kek }
  clock.advance({ seconds: -foundedDaysAgo * 86_400 })
  await bootstrapAuthorities(installation)
  clock.advance({ seconds: foundedDaysAgo * 86_400 })
  const process = async (bus: Bus = createLocalBus()): Promise<WorldContext> => {
    const base = {
      ...installation,
      authorities: await loadAuthorities(installation),
      bus,
      metrics: createMetrics(),
      connections: new ConnectionIndex(),
      nodeId: newId(clock.now()),
      transport: noTransport,
    }
    // Sweeps by themselves are not wanted here: what a test sees is what it asked for.
    const identities = stack.use(await createIdentityDirectory(base, { sweepMs: 3_600_000 }))
    return { ...base, identities }
  }
  const ctx = await process()
  stack.defer(() => flushEvents(ctx))
  return { ...build(ctx, process), [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

function build(
  ctx: WorldContext,
  another: IdentityWorld['another'],
): Omit<IdentityWorld, typeof Symbol.asyncDispose> {
  const id = () => newId(ctx.clock.now())
  const givenGroup = async () => {
    const name = unique('group')
    return (await createGroup(ctx, { id: id(), name, description: '', ...by })).id
  }
  const givenEstPolicy: IdentityWorld['givenEstPolicy'] = async (profileId, body) => {
    await setEstPolicy(ctx, { profileId, body: EstPolicyBody.parse(body), ...by })
  }
  const givenProfile: IdentityWorld['givenProfile'] = async (overrides = {}) => {
    const groupId = overrides.groupId ?? (await givenGroup())
    const given = { name: unique('line'), auth: { type: 'token' }, registration: 'just-in-time' }
    const body = NewProfileBody.parse({ ...given, groupId, ...isoDates(overrides) })
    const { name } = body
    const profileId = (await createProfile(ctx, { id: id(), body, ...by })).id
    // Tests renew when they like; those of the window set their own.
    await givenEstPolicy(profileId, { renewal: { opensPercent: 0 } })
    return { id: profileId, name, groupId }
  }
  const givenToken: IdentityWorld['givenToken'] = async (profileId, { maxUses, expiresAt } = {}) =>
    (await createToken(ctx, { id: id(), profileId, maxUses, expiresAt, ...by })).token
  const enrollWith: IdentityWorld['enrollWith'] = async (secret, csr, by = ctx) => {
    const token = await findTokenByHash(ctx.db, hashToken(secret))
    const profile = token && (await findProfile(ctx.db, { id: token.profile_id }))
    if (!token || !profile) throw new Error('no such token')
    return await enroll(by, { token, profile, csr: parseCsr(csr) })
  }
  const givenDevice: IdentityWorld['givenDevice'] = async (options = {}) => {
    const profile = options.profile ?? (await givenProfile())
    const serialNumber = options.serialNumber ?? unique('SN')
    const { key, csr } = newRequest(serialNumber)
    const der = await enrollWith(await givenToken(profile.id), csr)
    const print = fingerprint(der)
    const row = await ctx.db
      .selectFrom('certificate')
      .select(['id', 'device_id'])
      .where('fingerprint', '=', print)
      .executeTakeFirstOrThrow()
    const { id: certificateId, device_id: deviceId } = row
    return {
      serialNumber,
      key,
      csr,
      der,
      deviceId: deviceId ?? '',
      certificateId,
      fingerprint: print,
    }
  }
  const given = { givenGroup, givenProfile, givenEstPolicy, givenToken, givenDevice }
  return { ctx, another, ...given, enrollWith }
}

function isoDates(body: Partial<NewProfileBody>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(body).map(([name, value]) => [
      name,
      value instanceof Date ? value.toISOString() : value,
    ]),
  )
}
