import { createHash, createPublicKey, verify } from 'node:crypto'

import { must } from './repository.ts'
import type { Instant } from './types.ts'

/*
 * A metadata file as profile P sees it (updates.md section 4): one slice of bytes, verified before it is looked into, and then
 * searched for patterns that canonical form allows once (2.1: sorted names, no quote inside a string, reserved names). Nothing here
 * parses JSON.
 */

/** The signed part of a file, verified: printable ASCII without a backslash. */
export type Slice = string

/** Such a device has no room for more. */
const maxFileBytes = 8_192

// DER of SubjectPublicKeyInfo up to the raw key (RFC 8410 section 4).
const ed25519Prefix = '302a300506032b6570032100'

/**
 * The bytes between `,"signed":` and the last brace, once every one of these keys has signed them. Raw Ed25519 keys in lower hex.
 * Refused are `endless-data` above 8 kB and `arbitrary`.
 */
export function openSlice(text: string, keys: readonly string[]): Slice {
  must(text.length <= maxFileBytes, 'endless-data', 'A file is larger than this device takes')
  const marker = ',"signed":'
  const start = text.indexOf(marker)
  must(start > 0 && text.endsWith('}}'), 'arbitrary', 'Not a metadata file')
  const slice = text.slice(start + marker.length, -1)
  for (const key of keys) {
    must(isSigned(slice, key, text.slice(0, start)), 'arbitrary', 'Too few valid signatures')
  }
  // After the signatures and before anything is searched for: a quote then always ends a string.
  must(/^[ -[\]-~]*$/.test(slice), 'arbitrary', 'A byte that has no place in metadata')
  return slice
}

/** Tries every signature in the head: which key id a signer gave to its key does not matter to a pinned one. */
function isSigned(slice: Slice, key: string, head: string): boolean {
  const der = Buffer.from(ed25519Prefix + key, 'hex')
  const publicKey = createPublicKey({ key: der, format: 'der', type: 'spki' })
  return [...head.matchAll(/"sig":"([0-9a-f]{128})"/g)]
    .slice(0, 4)
    .some(([, sig = '']) => verify(null, Buffer.from(slice), publicKey, Buffer.from(sig, 'hex')))
}

/** How every file of a type begins; `delegations` would stand before `expires`, so such a file does not. */
function headOf(slice: Slice, type: 'targets' | 'snapshot' | 'timestamp'): RegExpExecArray {
  const head = new RegExp(`^\\{"_type":"${type}","expires":"([0-9TZ:-]{20})",`).exec(slice)
  const isKnown = head !== null && slice.includes(',"spec_version":"1.')
  must(isKnown, 'arbitrary', `Not a file of type ${type} as this device reads it`)
  return head
}

/** Compared as 20 bytes. */
export function requireCurrent(
  slice: Slice,
  type: 'targets' | 'snapshot' | 'timestamp',
  time: Instant,
): void {
  const expires = headOf(slice, type)[1] ?? ''
  must(expires > time, 'freeze', `The ${type} expired at ${expires}; it is ${time}`)
}

/** The last one in the file: `match.version` of a target comes earlier, and nothing after may be called so. */
export function versionIn(slice: Slice): number {
  const version = numberAfter(slice, slice.lastIndexOf(',"version":'), ',"version":')
  must(version > 0, 'arbitrary', 'Versions begin with 1')
  return version
}

/** The number that follows `name` at a place in the text. */
export function numberAfter(text: string, at: number, name: string): number {
  const digits =
    at < 0
      ? undefined
      : /^(?:0|[1-9][0-9]{0,14})(?=[,}])/.exec(
          text.slice(at + name.length, at + name.length + 16),
        )?.[0]
  must(digits !== undefined, 'arbitrary', `There is no number after ${name}`)
  return Number(digits)
}

/** What stands between two patterns, the first at or after `from`. Undefined when either is missing. */
export function between(
  text: string,
  [before, after]: readonly [string, string],
  from = 0,
): string | undefined {
  const start = text.indexOf(before, from)
  const end = start < 0 ? -1 : text.indexOf(after, start + before.length)
  return end < 0 ? undefined : text.slice(start + before.length, end)
}

/** How the file above names this one: hash, length and version as one pattern. */
export function listingOf(name: string, text: string, slice: Slice): string {
  const hash = createHash('sha256').update(text).digest('hex')
  return `"meta":{"${name}":{"hashes":{"sha256":"${hash}"},"length":${text.length},"version":${versionIn(slice)}}},"spec_version":"`
}
