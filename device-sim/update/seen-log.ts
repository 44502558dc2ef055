import { createHash } from 'node:crypto'

import { z } from 'zod'

import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { VerificationError } from '../../pki/tuf/errors.ts'
import {
  deviceEntry,
  fileEntry,
  leafOf,
  type LogHead,
  showsConsistent,
  showsIncluded,
} from '../../pki/tuf/log-entry.ts'
import { readRoot, readTargets, readTimestamp } from '../../pki/tuf/read.ts'
import type { TrustedState, VerifiedBundle } from '../../pki/tuf/types.ts'
import { BundleMessage } from '../../server/protocol/messages.ts'
import { type Disk, replaceFile } from '../disk.ts'
import { DeviceError } from '../errors.ts'

const sha256 = z.string().regex(/^[0-9a-f]{64}$/)

const SeenLog = z.strictObject({
  size: z.int().min(1),
  root: sha256,
  /** The director's timestamp keys then: a root that replaces them begins a new log. */
  keyids: z.array(z.string().max(128)).max(32),
  /** Leaf hashes of the held files that were proven. */
  proven: z.array(sha256).max(40),
})
/** The newest head of the transparency log that this device accepted. Once there is one, it is asked for ever after. */
export type SeenLog = z.infer<typeof SeenLog>

const file = 'trusted.log.json'
const maxFileBytes = 65_536

export async function loadSeenLog(disk: Disk): Promise<SeenLog | undefined> {
  const bytes = await disk.read(file, maxFileBytes)
  if (!bytes) return undefined
  try {
    return SeenLog.parse(JSON.parse(bytes.toString('utf8')))
  } catch (cause) {
    // To go on without would be to forget which log this device was shown.
    throw new DeviceError('damaged', `${file} is damaged`, 'Enroll the device anew', { cause })
  }
}

export async function saveSeenLog(disk: Disk, seen: SeenLog): Promise<void> {
  await replaceFile(disk, file, Buffer.from(JSON.stringify(seen)))
}

/**
 * Whether every file that this bundle gives the device is in the public log, and the log still holds all that it held (updates.md
 * 2.4). A file is asked for once. Gives what is to be remembered; throws VerificationError `log`.
 *
 * @param message the bundle as it came, unpacked
 */
export function checkLog(
  seen: SeenLog | undefined,
  verified: VerifiedBundle,
  message: Buffer,
): SeenLog | undefined {
  const { state } = verified
  const keyids = timestampKeys(state)
  const before = countingLog(seen, state)
  const { needed: asked, held } = leavesOf(verified)
  const needed = asked.filter((leaf) => before?.proven.includes(leaf) !== true)
  const { head, proofs } = readMessage(message)
  if (!head) {
    if (before && needed.length > 0) refuse(state, 'The head of the transparency log is left out')
    return before
  }
  if (before && head.size < before.size) {
    if (needed.length === 0) return before
    refuse(state, `The transparency log shrank from ${before.size} to ${head.size}`)
  }
  if (before && !showsConsistent(before, head, proofs)) {
    refuse(state, `The transparency log of ${head.size} is not the one of ${before.size} continued`)
  }
  if (!needed.every((leaf) => showsIncluded(leaf, head, proofs))) {
    refuse(state, 'A file is not in the transparency log')
  }
  const proven = held.filter((leaf) => asked.includes(leaf) || before?.proven.includes(leaf))
  return { ...head, keyids, proven }
}

/** A director root that replaces the timestamp key begins a new log: what was seen before it counts no more. */
export function countingLog(seen: SeenLog | undefined, state: TrustedState): SeenLog | undefined {
  const keyids = seen && timestampKeys(state)
  return seen?.keyids.every((keyid) => keyids?.includes(keyid)) === true ? seen : undefined
}

/**
 * Of what the device holds now, the leaves, and those that the log must show: its own targets file, and what vouches for
 * every image that it is to install.
 */
function leavesOf({ state, targets }: VerifiedBundle): { held: string[]; needed: string[] } {
  const own = leafOf(deviceEntry(hashOf(state.director.targets ?? '')))
  const roles = new Set(['targets', ...targets.map(({ path }) => roleOf(path))])
  const { targets: top, delegated } = state.image
  const texts = [...(top === undefined ? [] : [['targets', top]]), ...Object.entries(delegated)]
  const files = texts.map(([role = '', text = '']) => {
    const { version } = readTargets(decodeEnvelope(Buffer.from(text), maxFileBytes).signed)
    const entry = fileEntry({ repository: 'image', role, version, sha256: hashOf(text) })
    return { leaf: leafOf(entry), isNeeded: targets.length > 0 && roles.has(role) }
  })
  return {
    held: [own, ...files.map(({ leaf }) => leaf)],
    needed: [own, ...files.filter(({ isNeeded }) => isNeeded).map(({ leaf }) => leaf)],
  }
}

/** The role that may speak for a path (updates.md 2.2). */
function roleOf(path: string): string {
  const [kind, model = ''] = path.split('/')
  return `${kind === 'fw' ? 'fw' : 'cfg'}-${model}`
}

/** The head is in the timestamp as it came: its signature was verified also when a stored one of the same second stays. */
function readMessage(message: Buffer) {
  const parsed = BundleMessage.safeParse(JSON.parse(message.toString('utf8')))
  const none = { included: {}, consistent: {} }
  if (!parsed.success) return { head: undefined, proofs: none }
  const { director, log = none } = parsed.data
  const text = director['timestamp.json'] ?? ''
  const timestamp = readTimestamp(decodeEnvelope(Buffer.from(text), maxFileBytes).signed)
  const head: LogHead | undefined = timestamp['x-log']
  return { head, proofs: log }
}

function timestampKeys({ director }: TrustedState): string[] {
  const root = readRoot(decodeEnvelope(Buffer.from(director.root), maxFileBytes).signed)
  return root.roles.timestamp.keyids
}

/** What was verified by then is kept: the files are asked about again, with the next bundle. */
function refuse(state: TrustedState, message: string): never {
  const error = new VerificationError('log', message)
  error.state = state
  throw error
}

function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
