import { appendFileSync, closeSync, fsyncSync, openSync } from 'node:fs'
import { join } from 'node:path'

import { z } from 'zod'

import { readSmall } from '../sign/files.ts'

export const recordFile = 'ceremony.log'
const maxBytes = 16 * 1024 * 1024

const Entry = z.object({
  at: z.string(),
  action: z.enum(['init', 'sign', 'rollover', 'crl']),
  /** Of the certificate or list that was made, SHA-256, hex. */
  fingerprint: z.string(),
  subject: z.string(),
  notAfter: z.string(),
})
/** One certificate or list that the key of this folder signed. */
export type Entry = z.infer<typeof Entry>

/** Written before a certificate leaves the folder: what is not in the record was not made here. */
export function record(dir: string, entries: readonly Entry[]): void {
  const path = join(dir, recordFile)
  const file = openSync(path, 'a', 0o600)
  try {
    appendFileSync(file, entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/** Everything the key of a folder has signed, oldest first. */
export function readRecord(dir: string): Entry[] {
  const text = readSmall(join(dir, recordFile), maxBytes) ?? ''
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Entry.parse(JSON.parse(line)))
}
