import type { Context } from '../context.ts'
import { storable } from '../db/storable.ts'
import { inTransaction } from '../db/transaction.ts'
import { afterCameBack, endCameBack } from '../deployments/came-back.ts'
import { announceIdentityChange } from '../devices/identity-change.ts'
import { describePolled } from '../devices/polled-description.ts'
import { findRelease } from './claim-store.ts'
import { type Poller, setWantsAttributes } from './device-store.ts'
import { objectIn } from './feedback.ts'
import { proveSuccess, rebootMs } from './proof.ts'

type Value = string | number | boolean
export type Attributes = Readonly<Record<string, Value>>

const mostAttributes = 100
const longest = 128
/** Ours to say, never a device's. */
const reserved = 'fleetseal.'

/**
 * The attributes after what a device sent (ddi.md §2, §11). Lenient: no `mode` is `merge`, what is too long is cut, what is too much or
 * unreadable left out. `null` deletes a key.
 */
export function mergeAttributes(before: Attributes, body: Buffer): Attributes {
  const said = objectIn(body.toString('utf8'))
  const data = said?.['data']
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return before
  const entries = Object.entries(data)
    .filter(([key]) => key !== '' && !key.startsWith(reserved))
    .map(([key, value]) => [cut(key), valueOf(value)] as const)
  const removed = new Set(
    said?.['mode'] === 'remove'
      ? entries.map(([key]) => key)
      : entries.filter(([, value]) => value === undefined).map(([key]) => key),
  )
  const kept = said?.['mode'] === 'replace' ? {} : before
  const set = said?.['mode'] === 'remove' ? [] : entries
  const merged = new Map<string, Value>(Object.entries(kept).filter(([key]) => !removed.has(key)))
  for (const [key, value] of set) if (value !== undefined) merged.set(key, value)
  return Object.fromEntries([...merged].slice(0, mostAttributes))
}

function valueOf(value: unknown): Value | undefined {
  if (typeof value === 'string') return cut(value)
  if (typeof value === 'boolean') return value
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined
}

function cut(text: string): string {
  return storable(text.slice(0, longest))
}

/**
 * Stores what a device says of itself, and takes its version from the attribute that its model names: the proof of an update that it
 * claimed before, or that there was none.
 */
export async function takeConfigData(ctx: Context, poller: Poller, body: Buffer): Promise<void> {
  const { device_id: deviceId, model, component, version_attribute: key } = poller
  const attributes = mergeAttributes(poller.attributes, body)
  // Only what it says now: an older word, merged with this one, would speak against an update that was claimed since.
  const news = mergeAttributes({}, body)
  const said = key === null || !Object.hasOwn(news, key) ? undefined : news[key]
  const version = said === undefined ? undefined : String(said)
  const known =
    version === undefined ? undefined : await findRelease(ctx.db, { model, component, version })
  const now = ctx.clock.now()
  const { regrouped, cameBack } = await inTransaction(ctx.db, async (tx) => {
    const { build, ...image } = known ?? unreleased
    const runs = version === undefined ? [] : [{ deviceId, component, build }]
    // A client that claims before the reboot may be heard of from the old image once more.
    const cameBack = await endCameBack(tx, runs, now, rebootMs)
    await setWantsAttributes(tx, deviceId, cameBack.tooEarly.length > 0)
    const installed =
      version === undefined ? {} : { installed: { component, version, build, ...image } }
    const regrouped = await describePolled(tx, { deviceId, attributes, ...installed }, now)
    return { regrouped, cameBack }
  })
  await afterCameBack(ctx, cameBack)
  await announceIdentityChange(ctx, regrouped)
  if (version !== undefined) await proveSuccess(ctx, deviceId, { version })
}

/** A version that was never released here, such as the factory's: before everything. */
const unreleased = { build: 0, svn: 0, sha256: '0'.repeat(64) }
