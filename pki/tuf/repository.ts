import { createHash } from 'node:crypto'

import { decodeEnvelope } from './envelope.ts'
import { type AttackCode, MetadataError, VerificationError } from './errors.ts'
import type { JsonValue } from './json.ts'
import { isPqRequired, meetsSigners, rootSigners, type Signers } from './post-quantum.ts'
import { readRoot, readSnapshot, readTargets, readTimestamp } from './read.ts'
import type {
  Envelope,
  MetaFile,
  RootMetadata,
  SnapshotMetadata,
  TargetsMetadata,
  TimestampMetadata,
} from './types.ts'

/*
 * One file of a repository: who must have signed it, and what it may be. The signer on its offline machine asks the same of what
 * it is given as a device does.
 */

/** Step 0 of updates.md section 4: bytes and counts. JSON depth is capped in json.ts. */
export const limits = {
  bundle: 65_536,
  timestamp: 16_384,
  root: 65_536,
  rotations: 64,
  delegated: 32,
}

/** How files are written: by the rules of updates.md 2.1, or, for the conformance command, by those of TUF alone. */
export interface Format {
  decode: (bytes: Buffer, maxBytes: number) => Envelope
  root: (signed: JsonValue) => RootMetadata
  timestamp: (signed: JsonValue) => TimestampMetadata
  snapshot: (signed: JsonValue) => SnapshotMetadata
  targets: (signed: JsonValue) => TargetsMetadata
}

export const fleetsealFormat: Format = {
  decode: decodeEnvelope,
  root: readRoot,
  timestamp: readTimestamp,
  snapshot: readSnapshot,
  targets: readTargets,
}

/** Whose signatures a file needs, and how it may be read. */
export interface Expected<T> extends Signers {
  maxBytes: number
  read: (signed: JsonValue) => T
  decode?: Format['decode']
}

/** A demand of the verifier: where it does not hold, the update is refused as the attack that `code` names. */
export function must(
  holds: unknown,
  code: AttackCode,
  message: string,
  options?: { missing: string },
): asserts holds {
  if (!holds) throw new VerificationError(code, message, options)
}

/** What is no metadata at all is refused like what nobody signed; too much of it has its own name. */
function guarded<T>(work: () => T): T {
  try {
    return work()
  } catch (cause) {
    if (!(cause instanceof MetadataError)) throw cause
    const tooMuch = cause.fault === 'too-large' || cause.fault === 'too-deep'
    throw new VerificationError(tooMuch ? 'endless-data' : 'arbitrary', cause.message, { cause })
  }
}

/** Parses a file and counts its signatures before anything in it is believed (TUF 1.0.34 section 5). */
export function openSigned<T>(text: string, expected: Expected<T>): T {
  const { maxBytes, read, decode = decodeEnvelope, ...signers } = expected
  return guarded(() => {
    const envelope = decode(Buffer.from(text), maxBytes)
    must(meetsSigners(envelope, signers), 'arbitrary', 'Too few valid signatures')
    return read(envelope.signed)
  })
}

/** A stored file counts only while the current keys verify it (updates.md 3.4). */
export function openHeld<T>(text: string | undefined, expected: Expected<T>): T | undefined {
  try {
    return text === undefined ? undefined : openSigned(text, expected)
  } catch (error) {
    if (error instanceof VerificationError) return undefined
    throw error
  }
}

/** A root signs itself, so its keys are read first; every other signer of a link is a root already trusted. */
export function openRoot(
  text: string,
  before?: RootMetadata,
  { decode, root: read }: Format = fleetsealFormat,
): RootMetadata {
  return guarded(() => {
    const envelope = decode(Buffer.from(text), limits.root)
    const root = read(envelope.signed)
    for (const signer of before ? [before, root] : [root]) {
      must(meetsSigners(envelope, rootSigners(signer)), 'arbitrary', 'Too few root signatures')
    }
    return root
  })
}

/** The next link of a root chain. */
export function nextRoot(root: RootMetadata, text: string, format?: Format): RootMetadata {
  // TUF 5.3.4: the threshold of the old root and of the new one.
  const next = openRoot(text, root, format)
  // TUF 5.3.5: exactly one more.
  must(next.version === root.version + 1, 'rollback', 'A root version is skipped or repeated')
  // updates.md 10: once a root asked for post-quantum signatures, none after it may do without.
  const isSticky = !isPqRequired(root) || isPqRequired(next)
  must(isSticky, 'arbitrary', 'A root does without the post-quantum signatures that were required')
  // 3.6: going live means new devices, never a chain, in either direction.
  const isOneKind = isEvaluation(next) === isEvaluation(root)
  must(isOneKind, 'evaluation', 'A root chain may not join evaluation and production')
  return next
}

export function isEvaluation(root: RootMetadata): boolean {
  return root['x-evaluation'] === true
}

/** Length and hashes by which another file names this one, where it does; never a hash nobody can compute. */
export function isAsListed(bytes: Buffer, { length, hashes }: MetaFile): boolean {
  if (length !== undefined && length !== bytes.length) return false
  if (hashes === undefined) return true
  const known = Object.entries(hashes).filter(([name]) => name === 'sha256' || name === 'sha512')
  return (
    known.length > 0 &&
    known.every(([name, hash]) => createHash(name).update(bytes).digest('hex') === hash)
  )
}
