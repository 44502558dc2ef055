import type { OpeningKey } from '../../pki/sealed/sealed-file.ts'
import { readArchive } from './archive.ts'
import { BackupError } from './backup-error.ts'
import { type BackupSummary, Manifest } from './manifest.ts'

const maxSmallBytes = 1024 * 1024

export interface Inspected extends BackupSummary {
  /** Sealed with the key-encryption key that the backup's keys are wrapped with; undefined before a first start. */
  kekCheck: Buffer | undefined
  kek: Buffer | undefined
}

/**
 * Reads a whole backup: every byte of it is what was written, and it is complete. Needs nothing but the file and its key.
 *
 * @throws BackupError
 */
export async function inspectBackup(path: string, key: OpeningKey): Promise<Inspected> {
  const tables: Record<string, number> = {}
  const files: string[] = []
  const artifacts = { count: 0, bytes: 0 }
  const small = new Map<string, Buffer[]>()
  let name = ''
  for await (const event of readArchive(path, key)) {
    if (event.kind === 'part') name = event.name
    else if (event.kind === 'data') {
      if (isSmall(name)) small.set(name, [...(small.get(name) ?? []), event.bytes])
    } else if (name.startsWith('table:')) tables[name.slice(6)] = event.end.rows
    else if (name.startsWith('file:')) files.push(name.slice(5))
    else if (name.startsWith('artifact:')) {
      artifacts.count += 1
      artifacts.bytes += event.end.bytes
    }
  }
  const manifest = Manifest.safeParse(jsonOf(small.get('manifest')))
  if (!manifest.success) throw new BackupError(`${path} is of another version of Fleetseal`)
  return {
    manifest: manifest.data,
    tables,
    files,
    artifacts,
    kekCheck: kekCheckIn(small.get('table:installation')),
    kek: small.get('file:kek')?.[0],
  }
}

function isSmall(name: string): boolean {
  return name === 'manifest' || name === 'table:installation' || name === 'file:kek'
}

function jsonOf(parts: readonly Buffer[] | undefined): unknown {
  const bytes = Buffer.concat(parts ?? [])
  if (bytes.length === 0 || bytes.length > maxSmallBytes) return undefined
  return JSON.parse(bytes.toString())
}

function kekCheckIn(parts: readonly Buffer[] | undefined): Buffer | undefined {
  const rows = jsonOf(parts)
  const row: unknown = Array.isArray(rows) ? rows[0] : undefined
  if (typeof row !== 'object' || row === null || !('kek_check' in row)) return undefined
  return Buffer.from(String(row.kek_check).slice(2), 'hex')
}
