import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'

import type { Config } from '../config.ts'
import { DomainError } from '../errors.ts'
import { isEvaluation } from './authority.ts'
import type { CurrentMetadata } from './current.ts'

/** A folder of keys lies near the top; the database and the artifacts are not looked through. */
const maxDepth = 3
const maxEntries = 20_000
const skipped = new Set(['artifacts', 'database', 'pgdata', 'base', 'pg_wal'])

/**
 * Keys that can sign firmware do not belong on the server (updates.md 3.6): with production roots, role private keys in the
 * data directory are a reason not to publish. In evaluation they may lie there.
 */
export async function refuseRoleKeysHere(
  { dataDir }: Pick<Config, 'dataDir'>,
  current: CurrentMetadata,
): Promise<void> {
  if (isEvaluation(current)) return
  const found = await findRoleKey(dataDir, { depth: 0, seen: { entries: 0 } })
  if (found === undefined) return
  throw new DomainError(
    'not-ready',
    'A private role key lies in the data directory of the server: take it away, and replace it, before publishing',
    { file: found },
  )
}

async function findRoleKey(
  folder: string,
  { depth, seen }: { depth: number; seen: { entries: number } },
): Promise<string | undefined> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  for (const entry of entries) {
    if (++seen.entries > maxEntries) return undefined
    const path = join(folder, entry.name)
    if (entry.isDirectory() && depth < maxDepth && !skipped.has(entry.name)) {
      const found = await findRoleKey(path, { depth: depth + 1, seen })
      if (found !== undefined) return found
    }
    if (entry.isFile() && /\.(pem|key)$/.test(entry.name) && (await isEncryptedKey(path))) {
      return path
    }
  }
  return undefined
}

/** Our own private keys are wrapped, never PEM; the offline signer writes encrypted PKCS#8. */
async function isEncryptedKey(path: string): Promise<boolean> {
  await using file = await open(path, 'r')
  const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0)
  return buffer.toString('latin1', 0, bytesRead).startsWith('-----BEGIN ENCRYPTED PRIVATE KEY')
}
