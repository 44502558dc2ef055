import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'

/** Whether the device's current director targets name these bytes (updates.md section 6). */
export async function mayDownload(db: Db, deviceId: string, sha256: string): Promise<boolean> {
  return (await namedArtifacts(db, deviceId)).includes(sha256)
}

async function namedArtifacts(db: Db, deviceId: string): Promise<string[]> {
  const row = await db
    .selectFrom('director_state')
    .select('artifact_sha256s')
    .where('device_id', '=', deviceId)
    .executeTakeFirst()
  return row?.artifact_sha256s ?? []
}

/** A device downloads in many ranges; its list is read once a second at most. */
const rememberedMs = 1_000
const maxRemembered = 10_000

export interface DownloadRights {
  mayDownload: (deviceId: string, sha256: string) => Promise<boolean>
  /** The SHA-256, lower hex, of what begins so and may be downloaded; undefined when nothing or more than one does. */
  named: (deviceId: string, start: string) => Promise<string | undefined>
}

/** Who may download what, with a short and bounded memory of the lists that allowed something; a refusal is always read anew. */
export function createDownloadRights({ db }: Pick<Context, 'db'>): DownloadRights {
  const remembered = new Map<string, { until: number; sha256s: string[] }>()
  const matching = async (deviceId: string, start: string): Promise<string[]> => {
    const matches = (sha256s: readonly string[]) =>
      sha256s.filter((sha256) => sha256.startsWith(start))
    const now = performance.now()
    const known = remembered.get(deviceId)
    const found = known && known.until > now ? matches(known.sha256s) : []
    if (found.length > 0) return found
    const sha256s = await namedArtifacts(db, deviceId)
    remembered.delete(deviceId)
    const fresh = matches(sha256s)
    if (fresh.length === 0) return []
    remembered.set(deviceId, { until: now + rememberedMs, sha256s })
    const [oldest] = remembered.keys()
    if (remembered.size > maxRemembered && oldest !== undefined) remembered.delete(oldest)
    return fresh
  }
  return {
    mayDownload: async (deviceId, sha256) => (await matching(deviceId, sha256)).includes(sha256),
    named: async (deviceId, start) => {
      const [only, another] = await matching(deviceId, start)
      return another === undefined ? only : undefined
    },
  }
}
