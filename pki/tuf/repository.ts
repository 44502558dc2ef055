import { createHash } from 'node:crypto'

import { decodeEnvelope } from './envelope.ts'
import { type AttackCode, MetadataError, VerificationError } from './errors.ts'
import type { JsonValue } from './json.ts'
import { isPqRequired, meetsSigners, rootSigners, type Signers } from './post-quantum.ts'
import { readRoot, readSnapshot, readTimestamp } from './read.ts'
import type {
  Bundle,
  DeviceFacts,
  Instant,
  MetaFile,
  RepositoryState,
  RoleKeys,
  RootMetadata,
  SnapshotMetadata,
  TimestampMetadata,
  TrustedState,
} from './types.ts'

/** Step 0 of updates.md section 4: bytes and counts. JSON depth is capped in json.ts. */
export const limits = {
  bundle: 65_536,
  timestamp: 16_384,
  root: 65_536,
  rotations: 64,
  delegated: 32,
}

export type RepositoryName = keyof Bundle

/** One verification. `state` moves forward with every file that passed, so that a failure later loses nothing. */
export interface Run {
  state: TrustedState
  readonly bundle: Bundle
  readonly device: DeviceFacts
}

/** Whose signatures a file needs, and how it may be read. */
interface Expected<T> extends Signers {
  maxBytes: number
  read: (signed: JsonValue) => T
}

export function refuse(code: AttackCode, message: string): never {
  throw new VerificationError(code, message)
}

export function keep(run: Run, name: RepositoryName, files: Partial<RepositoryState>): void {
  run.state = { ...run.state, [name]: { ...run.state[name], ...files } }
}

/** A file as it came, if the bundle has it. */
export function sent(run: Run, name: RepositoryName, file: string): string | undefined {
  const files = run.bundle[name]
  return Object.hasOwn(files, file) ? files[file] : undefined
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
export function openSigned<T>(text: string, { maxBytes, read, ...signers }: Expected<T>): T {
  return guarded(() => {
    const envelope = decodeEnvelope(Buffer.from(text), maxBytes)
    if (!meetsSigners(envelope, signers)) refuse('arbitrary', 'Too few valid signatures')
    return read(envelope.signed)
  })
}

/** A stored file counts only while the current keys verify it (updates.md 3.4). */
function openHeld<T>(text: string | undefined, expected: Expected<T>): T | undefined {
  try {
    return text === undefined ? undefined : openSigned(text, expected)
  } catch (error) {
    if (error instanceof VerificationError) return undefined
    throw error
  }
}

/** A file that another file names: its length and hash are asked before it is parsed (TUF 5.5.1, 5.6.1). */
export function openListed<T extends { version: number; expires: Instant }>(
  text: string | undefined,
  listed: MetaFile | undefined,
  expected: Omit<Expected<T>, 'maxBytes'>,
): T {
  if (text === undefined || listed === undefined) refuse('mix-and-match', 'A file is left out')
  const bytes = Buffer.from(text)
  if (listed.length !== undefined && listed.length !== bytes.length) {
    refuse('mix-and-match', 'A file has not the length it is listed with')
  }
  if (listed.hashes !== undefined && !hashesMatch(bytes, listed.hashes)) {
    refuse('mix-and-match', 'A file has not the hash it is listed with')
  }
  const file = openSigned(text, { ...expected, maxBytes: limits.bundle })
  if (file.version !== listed.version) refuse('mix-and-match', 'A file has another version inside')
  return file
}

function hashesMatch(bytes: Buffer, hashes: Record<string, string>): boolean {
  const known = Object.entries(hashes).filter(([name]) => name === 'sha256' || name === 'sha512')
  return (
    known.length > 0 &&
    known.every(([name, hash]) => createHash(name).update(bytes).digest('hex') === hash)
  )
}

export function requireFresh(expires: Instant, time: Instant, what: string): void {
  if (expires <= time) refuse('freeze', `${what} expired at ${expires}; it is ${time}`)
}

/** Step 1: from the trusted root to the newest one sent, each link signed by both (TUF 5.3). */
export function followRoots(run: Run, name: RepositoryName): RootMetadata {
  let root = openRoot(run.state[name].root)
  // 3.6: an evaluation root is for devices that were told to try the product out.
  if (isEvaluation(root) && !run.device.allowEvaluation) {
    refuse('evaluation', 'The trusted root was made for evaluation')
  }
  const offered = Object.keys(run.bundle[name]).map(rootVersion)
  const newest = Math.max(root.version, ...offered)
  for (let steps = 0; root.version < newest; steps += 1) {
    // 3.4: bounded in one run; what was walked is kept, so the next run goes on from there.
    if (steps === limits.rotations) refuse('endless-data', 'More root rotations than one run takes')
    const text = sent(run, name, `${root.version + 1}.root.json`)
    if (text === undefined) refuse('rollback', `Root ${root.version + 1} is left out`)
    const next = nextRoot(root, text)
    keep(run, name, { root: text })
    // 2.5: a stolen timestamp key may have moved the time far ahead; its replacement undoes that.
    if (name === 'director' && losesKey(root.roles.timestamp, next.roles.timestamp)) {
      const { timeAt: _, ...rest } = run.state
      run.state = rest
    }
    root = next
  }
  return root
}

function rootVersion(file: string): number {
  return Number(/^([1-9][0-9]{0,9})\.root\.json$/.exec(file)?.[1] ?? 0)
}

/** A root signs itself, so its keys are read first; every other signer of a link is a root already trusted. */
export function openRoot(text: string, before?: RootMetadata): RootMetadata {
  return guarded(() => {
    const envelope = decodeEnvelope(Buffer.from(text), limits.root)
    const root = readRoot(envelope.signed)
    for (const signer of before ? [before, root] : [root]) {
      if (!meetsSigners(envelope, rootSigners(signer))) {
        refuse('arbitrary', 'Too few root signatures')
      }
    }
    return root
  })
}

export function nextRoot(root: RootMetadata, text: string): RootMetadata {
  // TUF 5.3.4: the threshold of the old root and of the new one.
  const next = openRoot(text, root)
  // TUF 5.3.5: exactly one more.
  if (next.version !== root.version + 1) refuse('rollback', 'A root version is skipped or repeated')
  // updates.md 10: once a root asked for post-quantum signatures, none after it may do without.
  if (isPqRequired(root) && !isPqRequired(next)) {
    refuse('arbitrary', 'A root does without the post-quantum signatures that were required')
  }
  // 3.6: going live means new devices, never a chain, in either direction.
  if (isEvaluation(next) !== isEvaluation(root)) {
    refuse('evaluation', 'A root chain may not join evaluation and production')
  }
  return next
}

export function isEvaluation(root: RootMetadata): boolean {
  return root['x-evaluation'] === true
}

function losesKey(before: RoleKeys, after: RoleKeys): boolean {
  return before.keyids.some((keyid) => !after.keyids.includes(keyid))
}

/** Step 2, first half: the timestamp sent, signed by the current root's key, not yet compared with the stored one. */
export function offeredTimestamp(
  run: Run,
  name: RepositoryName,
  root: RootMetadata,
): TimestampMetadata | undefined {
  const text = sent(run, name, 'timestamp.json')
  return text === undefined ? undefined : openSigned(text, timestampOf(root))
}

function timestampOf({ keys, roles }: RootMetadata): Expected<TimestampMetadata> {
  return { keys, role: roles.timestamp, maxBytes: limits.timestamp, read: readTimestamp }
}

/** Step 3: TUF 5.4.3 and 5.4.4. An equal version is discarded and the stored file stays (updates.md 2.5). */
export function advanceTimestamp(
  run: Run,
  name: RepositoryName,
  { root, offered, time }: { root: RootMetadata; offered?: TimestampMetadata; time: Instant },
): TimestampMetadata {
  const held = openHeld(run.state[name].timestamp, timestampOf(root))
  if (offered && held && offered.version < held.version) {
    refuse('rollback', `Timestamp ${offered.version} is older than ${held.version}`)
  }
  const newer = offered !== undefined && offered.version !== held?.version
  const timestamp = newer ? offered : held
  if (!timestamp) refuse('freeze', 'There is no timestamp')
  const least = held?.meta['snapshot.json'].version ?? 0
  if (timestamp.meta['snapshot.json'].version < least) {
    refuse('rollback', 'The timestamp names an older snapshot')
  }
  requireFresh(timestamp.expires, time, `${name} timestamp`)
  const text = newer ? sent(run, name, 'timestamp.json') : undefined
  if (text !== undefined) keep(run, name, { timestamp: text })
  return timestamp
}

/** Step 4: TUF 5.5. */
export function advanceSnapshot(
  run: Run,
  name: RepositoryName,
  { root, timestamp, time }: { root: RootMetadata; timestamp: TimestampMetadata; time: Instant },
): SnapshotMetadata {
  const expected = { keys: root.keys, role: root.roles.snapshot, read: readSnapshot }
  const listed = timestamp.meta['snapshot.json']
  const stored = run.state[name].snapshot
  const text = sent(run, name, `${listed.version}.snapshot.json`) ?? stored
  const snapshot = openListed(text, listed, expected)
  const held = openHeld(stored, { ...expected, maxBytes: limits.bundle })
  for (const [file, before] of Object.entries(held?.meta ?? {})) {
    // TUF 5.5.5: nothing that was listed may vanish or fall.
    const after = Object.hasOwn(snapshot.meta, file) ? snapshot.meta[file] : undefined
    if (!after || after.version < before.version) refuse('rollback', `${file} is lost or older`)
  }
  requireFresh(snapshot.expires, time, `${name} snapshot`)
  if (text !== undefined) keep(run, name, { snapshot: text })
  return snapshot
}
