import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'

import { z } from 'zod'

import { Failure } from '../failure.ts'
import { readSmall } from './files.ts'

/** What was signed with the keys of a folder, one JSON line each. The signer's memory: it signs no version twice. */
const LogEntry = z.object({
  at: z.string(),
  repository: z.enum(['image', 'director']),
  role: z.string(),
  version: z.number().int(),
  signedSha256: z.string(),
  keyids: z.array(z.string()),
})
export type LogEntry = z.infer<typeof LogEntry>

const logFile = 'signing-log.jsonl'
const maxLogBytes = 16 * 1024 * 1024

/** All entries, oldest first. A line torn by a power cut is none: nothing was given out for it. */
export function readLog(keysDir: string): LogEntry[] {
  const lines = (readSmall(join(keysDir, logFile), maxLogBytes) ?? '').split('\n')
  return lines.flatMap((line) => {
    try {
      return LogEntry.parse(JSON.parse(line))
    } catch {
      return []
    }
  })
}

/** Appends an entry and waits until it is on the disk; only then may the signature leave. */
export function appendLog(keysDir: string, entry: LogEntry): void {
  const path = join(keysDir, logFile)
  const before = readSmall(path, maxLogBytes) ?? ''
  const file = openSync(path, 'a', 0o600)
  try {
    // A torn last line is ended, so that this entry does not become part of it.
    const start = before === '' || before.endsWith('\n') ? '' : '\n'
    writeSync(file, `${start}${JSON.stringify(entry)}\n`)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Refuses a version that was signed with other bytes, or is older than what was signed (equivocation, rollback). */
export function requireNotSigned(
  log: readonly LogEntry[],
  draft: Pick<LogEntry, 'repository' | 'role' | 'version' | 'signedSha256'>,
): void {
  for (const entry of log) {
    if (entry.repository !== draft.repository || entry.role !== draft.role) continue
    const { version, signedSha256 } = entry
    if (version === draft.version && signedSha256 !== draft.signedSha256) {
      throw new Failure(
        'refused',
        `Version ${version} of ${draft.role} was signed with other contents`,
      )
    }
    if (version > draft.version) {
      throw new Failure(
        'refused',
        `Version ${version} of ${draft.role}, which is newer, was signed before`,
      )
    }
  }
}
