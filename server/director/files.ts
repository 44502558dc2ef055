import type { Db } from '../db/client.ts'
import { answersFor, type DirectorDeps } from './service.ts'
import { findState } from './state-store.ts'

/**
 * The director's timestamp of a device, signed now, as a stock TUF client fetches it (updates.md 2.5): what it lists is
 * signed and stored first. With a nonce it also proves the time. Undefined when the device has no director.
 */
export async function directorTimestamp(
  ctx: DirectorDeps,
  deviceId: string,
  nonce: string | undefined,
): Promise<string | undefined> {
  const request = { deviceId, have: {}, ...(nonce === undefined ? {} : { nonce }) }
  const [answer] = await answersFor(ctx, [request])
  return answer?.timestamp
}

/** `targets` or `snapshot` of a device in exactly this version; only the newest is kept. */
export async function directorFile(
  db: Db,
  deviceId: string,
  { role, version }: { role: string; version: number },
): Promise<string | undefined> {
  if (role !== 'targets' && role !== 'snapshot') return undefined
  const state = await findState(db, deviceId)
  if (!state) return undefined
  if (role === 'targets') return state.targets_version === version ? state.targets : undefined
  return state.snapshot_version === version ? state.snapshot : undefined
}
