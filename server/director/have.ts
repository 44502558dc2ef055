import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { noteEvent } from '../events/record.ts'
import type { CurrentMetadata } from '../metadata/current.ts'
import { TokenBucket } from '../mqtt/token-bucket.ts'
import type { Have } from '../protocol/messages.ts'
import type { DirectorState } from './store.ts'

/** A device that holds a timestamp this far ahead of our clock was served by somebody with another clock, or key. */
const maxAheadS = 300
/** No version of ours comes near; arithmetic on what a device says stays exact below. */
const maxVersion = 2 ** 40

export function haveOf(have: Have, repository: 'director' | 'image', role: string): number {
  const versions = have[repository]
  const name = `${role}.json`
  return versions && Object.hasOwn(versions, name) ? (versions[name] ?? 0) : 0
}

export function unixSeconds(now: Date): number {
  return Math.floor(now.getTime() / 1000)
}

/** A timestamp is numbered by the clock; nothing else comes near the bound. */
export function isBeyondReason(file: string, version: number, now: Date): boolean {
  return version > (file === 'timestamp' ? unixSeconds(now) + maxAheadS : maxVersion)
}

/**
 * Whether an answer above what the device holds may be signed (updates.md 2.5): not when its director timestamp is
 * more than 300 s ahead of our clock, nor when any version is beyond reason.
 */
export function mayAnswer(have: Have, now: Date): boolean {
  const versions = [have.director, have.image].flatMap((files) => Object.values(files ?? {}))
  return (
    haveOf(have, 'director', 'timestamp') <= unixSeconds(now) + maxAheadS &&
    versions.every((version) => version <= maxVersion)
  )
}

/** Files of which the device holds a later version than was ever published here: a restored backup, or a stolen key. */
export function filesAhead(
  have: Have,
  known: { current: CurrentMetadata; state: DirectorState | undefined },
): string[] {
  const { current, state } = known
  const ours: [string, number, number][] = [
    ['director targets', haveOf(have, 'director', 'targets'), state?.targets_version ?? 0],
    ['director snapshot', haveOf(have, 'director', 'snapshot'), state?.snapshot_version ?? 0],
    ['director root', haveOf(have, 'director', 'root'), current.director.root.version],
    ...[...current.image.values()].map(({ role, version }): [string, number, number] => [
      `image ${role}`,
      haveOf(have, 'image', role),
      version,
    ]),
  ]
  return ours.flatMap(([name, theirs, version]) => (theirs > version ? [name] : []))
}

const silenceMs = 3_600_000
const maxTold = 10_000
const toldAt = new WeakMap<Db, Map<string, number>>()

/** Critical, once an hour a device: what a device says of itself must not be able to fill the list of events. */
export function raiseAlarm(
  ctx: Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>,
  kind: 'metadata-ahead' | 'timestamp-ahead',
  { deviceId, ...facts }: { deviceId: string } & Record<string, unknown>,
): void {
  const told = toldAt.get(ctx.db) ?? new Map<string, number>()
  toldAt.set(ctx.db, told)
  const now = ctx.clock.now().getTime()
  const key = `${kind} ${deviceId}`
  if (now - (told.get(key) ?? -Infinity) < silenceMs) return
  told.delete(key)
  told.set(key, now)
  const [oldest] = told.keys()
  if (told.size > maxTold && oldest !== undefined) told.delete(oldest)
  ctx.log.error({ deviceId, kind, ...facts }, 'a device holds newer metadata than this server')
  noteEvent(ctx, { source: 'server', kind, severity: 'critical', deviceId, facts })
}

/** Of one device: at once, and in the long run. */
const jumps = { burst: 5, perSecond: 1 / 600 }
const maxJumpers = 10_000
const jumpers = new WeakMap<Db, Map<string, TokenBucket>>()

/**
 * May director files be signed above those that a device claims to hold? After a restored backup once is enough; each such
 * signature is a row of the audit log, which a device must not be able to fill.
 */
export function mayJump({ db }: Pick<Context, 'db'>, deviceId: string): boolean {
  const known = jumpers.get(db) ?? new Map<string, TokenBucket>()
  jumpers.set(db, known)
  const bucket = known.get(deviceId) ?? new TokenBucket(jumps.perSecond, jumps.burst)
  known.delete(deviceId)
  known.set(deviceId, bucket)
  const [oldest] = known.keys()
  if (known.size > maxJumpers && oldest !== undefined) known.delete(oldest)
  return bucket.take()
}

/** Whether the device claims director files above the last ones signed for it. */
export function claimsMore(have: Have, state: DirectorState | undefined): boolean {
  return (
    haveOf(have, 'director', 'targets') > (state?.targets_version ?? 0) ||
    haveOf(have, 'director', 'snapshot') > (state?.snapshot_version ?? 0)
  )
}
