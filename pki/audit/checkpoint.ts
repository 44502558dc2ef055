import type { KeyObject } from 'node:crypto'

import { PkiError } from '../errors.ts'
import { type NoteKey, noteKeyText, parseNoteKey, signNote } from '../signed-note.ts'

/** What a log says about its first `chainNo` rows: they end in this hash. */
export interface Checkpoint {
  /** `fleetseal.audit/<id of the log>`. */
  log: string
  chainNo: number
  /** 32 bytes. */
  hash: Buffer
  /** RFC 3339. */
  at: string
}

/** The name that a log signs with. */
export function logName(logId: string): string {
  return `fleetseal.audit/${logId}`
}

export const logNamePattern =
  /^fleetseal\.audit\/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/**
 * A checkpoint as a signed note: the lines of c2sp.org/tlog-checkpoint (origin, size, hash), and when it was signed. The hash is the one of the
 * chain, not of a tree.
 */
export function signCheckpoint({ log, chainNo, hash, at }: Checkpoint, key: KeyObject): string {
  return signNote(`${log}\n${chainNo}\n${hash.toString('base64')}\nat ${at}\n`, log, key)
}

/**
 * Reads what a checkpoint says, not whether it is signed.
 *
 * @throws PkiError `key`
 */
export function parseCheckpoint(text: string): Checkpoint {
  const [, log = '', no = '', encoded = '', at = ''] =
    /^([^\n]{1,200})\n([1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\nat ([\d:TZ.-]{20,30})\n$/.exec(text) ??
    []
  const hash = Buffer.from(encoded, 'base64')
  if (!logNamePattern.test(log) || hash.length !== 32 || Number.isNaN(Date.parse(at))) {
    throw new PkiError('key', 'This is not a checkpoint of an audit log')
  }
  return { log, chainNo: Number(no), hash, at }
}

/** By the key before: who trusts that one trusts the next. */
export function endorseKey(next: NoteKey, at: string, key: KeyObject): string {
  return signNote(`${next.name} next key\n${noteKeyText(next)}\nat ${at}\n`, next.name, key)
}

/**
 * The key that an endorsement names.
 *
 * @throws PkiError `key`
 */
export function endorsedKey(text: string): NoteKey {
  const [, name, key = ''] =
    /^([^\n]{1,200}) next key\n([^\n]{1,400})\nat [\d:TZ.-]{20,30}\n$/.exec(text) ?? []
  const next = parseNoteKey(key)
  if (next.name !== name) throw new PkiError('key', 'This endorses no key of its own log')
  return next
}
