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
}

/** `mayDownload` with a short and bounded memory of the lists that allowed something; a refusal is always read anew. */
export function createDownloadRights({ db }: Pick<Context, 'db'>): DownloadRights {
  const remembered = new Map<string, { until: number; sha256s: string[] }>()
  return {
    mayDownload: async (deviceId, sha256) => {
      const now = performance.now()
      const known = remembered.get(deviceId)
      if (known && known.until > now && known.sha256s.includes(sha256)) return true
      const sha256s = await namedArtifacts(db, deviceId)
      remembered.delete(deviceId)
      if (!sha256s.includes(sha256)) return false
      remembered.set(deviceId, { until: now + rememberedMs, sha256s })
      const [oldest] = remembered.keys()
      if (remembered.size > maxRemembered && oldest !== undefined) remembered.delete(oldest)
      return true
    },
  }
}
