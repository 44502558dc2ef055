import { rootIn } from '../metadata/authority.ts'
import type { CurrentMetadata } from '../metadata/current.ts'
import type { Have } from '../protocol/messages.ts'
import { haveOf, isBeyondReason } from './have.ts'

type Repository = 'director' | 'image'
type OnlineRole = 'timestamp' | 'snapshot' | 'targets'

/** Files whose versions stop counting on a device when an online key is replaced, and whose key that is (updates.md 3.4). */
const boundBy: [Repository, file: OnlineRole, key: OnlineRole][] = [
  ['director', 'timestamp', 'timestamp'],
  ['director', 'snapshot', 'snapshot'],
  ['director', 'targets', 'snapshot'],
  ['image', 'timestamp', 'timestamp'],
  ['image', 'snapshot', 'snapshot'],
]

/**
 * What of a device's `have` still binds the server: a thief may have signed any version with a key that was replaced since, and
 * the device forgets such a file when it walks to the new root. One that walked already may name it once more.
 */
export function countedHave(have: Have, current: CurrentMetadata, now: Date): Have {
  const since = keysSince(current)
  const counted = { director: { ...have.director }, image: { ...have.image } }
  for (const [repository, file, key] of boundBy) {
    const version = since.get(`${repository} ${key}`) ?? 1
    if (version === 1) continue
    const isOfOldKey = haveOf(have, repository, 'root') < version
    const isForgotten = isBeyondReason(file, haveOf(have, repository, file), now)
    if (isOfOldKey || isForgotten) delete counted[repository][`${file}.json`]
  }
  if (!have.log) return counted
  // With another time key a device begins a new log (docs/transparency.md).
  const isOfOldKey = haveOf(have, 'director', 'root') < (since.get('director timestamp') ?? 1)
  return { ...counted, log: isOfOldKey ? { size: 0, proven: [] } : have.log }
}

const remembered = new WeakMap<CurrentMetadata, Map<string, number>>()

/** For each online key the version of the root that brought it; 1 is the first. */
function keysSince(current: CurrentMetadata): Map<string, number> {
  const known = remembered.get(current)
  if (known) return known
  const since = new Map<string, number>()
  for (const repository of ['director', 'image'] as const) {
    const named = new Map<string, string>()
    for (const text of current.roots[repository]) {
      const { roles, version } = rootIn(text)
      for (const role of ['timestamp', 'snapshot', 'targets'] as const) {
        const keyids = roles[role].keyids.join()
        if (named.get(role) !== keyids) since.set(`${repository} ${role}`, version)
        named.set(role, keyids)
      }
    }
  }
  remembered.set(current, since)
  return since
}
