import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { MetadataError, VerificationError } from '../../pki/tuf/errors.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import {
  delegationSigners,
  isPqRequired,
  meetsSigners,
  rootSigners,
  type Signers,
  targetsSigners,
} from '../../pki/tuf/post-quantum.ts'
import { readRoot, readTargets } from '../../pki/tuf/read.ts'
import { limits, nextRoot, openRoot, openSigned } from '../../pki/tuf/repository.ts'
import type { Delegation, RootMetadata } from '../../pki/tuf/types.ts'
import { Failure } from '../failure.ts'
import type { Draft } from './draft.ts'
import type { LogEntry } from './log.ts'
import { sha256Of } from './sha256.ts'

/** Who may sign a draft, and what it comes after; all of it verified from the pinned root. */
export interface Authority {
  /** Key ids whose signatures count for this draft, of both halves. */
  keyids: string[]
  /** The root asks for post-quantum signatures of every role. */
  pqRequired: boolean
  /** Canonical `signed` of the version before. */
  previous?: Buffer
  delegation?: Delegation
}

/**
 * Follows the root chain from the pinned root, then the delegation, and verifies the version published last. Throws
 * Failure `untrusted` when any link does not hold: then the draft is not what the holders of the roots agreed to.
 */
export function authorityOf(draft: Draft, pinned: string, log: readonly LogEntry[]): Authority {
  try {
    const { root, text } = followChain(pinned, draft.rootChain)
    const pqRequired = isPqRequired(root)
    if (draft.role === 'root') return { ...rootAuthority(draft, root, text), pqRequired }
    if (draft.repository !== 'image')
      throw untrusted(`The director has no offline role ${draft.role}`)
    const targets = targetsSigners(root)
    if (draft.role === 'targets') {
      return { keyids: keyidsOf(targets), pqRequired, ...previousOf(draft, targets, log) }
    }
    const { signers, delegation } = delegated(draft, targets, pqRequired)
    const before = previousOf(draft, signers, log)
    return { keyids: keyidsOf(signers), pqRequired, delegation, ...before }
  } catch (cause) {
    if (!(cause instanceof VerificationError || cause instanceof MetadataError)) throw cause
    throw untrusted(cause.message, cause)
  }
}

function untrusted(what: string, cause?: unknown): Failure {
  return new Failure('untrusted', `The draft does not follow from the pinned root: ${what}`, {
    cause,
  })
}

function followChain(
  pinned: string,
  chain: readonly string[],
): { root: RootMetadata; text: string } {
  let text = pinned
  let root = openRoot(pinned)
  for (const link of chain) {
    // The chain begins with the pinned root itself; two roots of one version are two repositories.
    if (openRoot(link).version === root.version) requireSameSigned(link, text)
    else {
      root = nextRoot(root, link)
      text = link
    }
  }
  return { root, text }
}

function requireSameSigned(a: string, b: string): void {
  const [left, right] = [a, b].map(
    (text) => decodeEnvelope(Buffer.from(text), limits.root).signedBytes,
  )
  if (!left || !right?.equals(left)) throw untrusted('It has another root of the same version')
}

/** A root is signed by the keys it retires and by those it brings: either may be at this machine. */
function rootAuthority(
  draft: Draft,
  root: RootMetadata,
  text: string,
): Pick<Authority, 'keyids' | 'previous'> {
  const next = readRoot(parseStrict(Buffer.from(draft.signed), limits.root))
  const keyids = new Set([root, next].flatMap((one) => keyidsOf(rootSigners(one))))
  return {
    keyids: [...keyids],
    previous: decodeEnvelope(Buffer.from(text), limits.root).signedBytes,
  }
}

function keyidsOf({ role, pq }: Signers): string[] {
  return [...role.keyids, ...(pq?.role.keyids ?? [])]
}

function delegated(
  draft: Draft,
  targets: Signers,
  pqRequired: boolean,
): { signers: Signers; delegation: Delegation } {
  if (draft.targets === undefined) throw untrusted('The image targets are left out')
  const file = openSigned(draft.targets, {
    ...targets,
    maxBytes: limits.bundle,
    read: readTargets,
  })
  const delegation = file.delegations?.roles.find(({ name }) => name === draft.role)
  if (!delegation) throw untrusted(`Nobody delegated ${draft.role}`)
  return { delegation, signers: delegationSigners(file, delegation, pqRequired) }
}

/**
 * The version before must carry enough signatures of today's keys or, after a rotation of keys, be one that this folder
 * signed itself.
 */
function previousOf(
  draft: Draft,
  signers: Signers,
  log: readonly LogEntry[],
): { previous?: Buffer } {
  if (draft.previous === undefined) return {}
  const envelope = decodeEnvelope(Buffer.from(draft.previous), limits.bundle)
  const { signedBytes, signed } = envelope
  const { version } = readTargets(signed)
  const signedSha256 = sha256Of(signedBytes)
  const mine = log.some(
    (entry) =>
      entry.repository === draft.repository &&
      entry.role === draft.role &&
      entry.version === version &&
      entry.signedSha256 === signedSha256,
  )
  if (!mine && !meetsSigners(envelope, signers)) {
    throw untrusted(`Version ${version} of ${draft.role} is not signed by the keys of the role`)
  }
  return { previous: signedBytes }
}
