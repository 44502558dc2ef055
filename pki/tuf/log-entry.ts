import { isConsistent, isIncluded, leafHash, type TreeHead } from '../merkle.ts'
import { canonicalize } from './canonical.ts'

/*
 * What the transparency log of updates.md 2.4 says of one file: canonical JSON, whose RFC 6962 leaf hash is the leaf. A director
 * targets file is one device's, so the public log holds its hash and not whose it is.
 */

/** Of a published metadata file; `sha256` in lower hex over the file as it is served. */
export interface LoggedFile {
  repository: 'image' | 'director'
  role: string
  version: number
  sha256: string
}

export function fileEntry({ repository, role, version, sha256 }: LoggedFile): Buffer {
  return canonicalize({ kind: 'metadata', repository, role, sha256, version })
}

export function deviceEntry(sha256: string): Buffer {
  return canonicalize({ kind: 'director-targets', sha256 })
}

/** The head of the log as a timestamp carries it, `x-log`: number of leaves, root in lower hex. */
export interface LogHead {
  size: number
  root: string
}

/** Beside the files of a bundle: why the head that the director signed holds these leaves, and all that earlier heads held. */
export interface LogProofs {
  /** By leaf hash in lower hex; paths in lower hex. */
  included: Record<string, { no: number; path: string[] }>
  /** By the size of the earlier tree, in decimal. */
  consistent: Record<string, string[]>
}

export function leafOf(entry: Buffer): string {
  return leafHash(entry).toString('hex')
}

/** Whether `proofs` show that `head` holds the leaf. */
export function showsIncluded(leaf: string, head: LogHead, { included }: LogProofs): boolean {
  const found = Object.hasOwn(included, leaf) ? included[leaf] : undefined
  if (!found) return false
  const proof = { leaf: bytes(leaf), index: found.no, proof: found.path.map(bytes) }
  return isIncluded(proof, treeHead(head))
}

/** Whether `proofs` show that `head` holds all that `older` held; the same head needs no proof. */
export function showsConsistent(older: LogHead, head: LogHead, { consistent }: LogProofs): boolean {
  const name = String(older.size)
  const path = Object.hasOwn(consistent, name) ? (consistent[name] ?? []) : []
  return isConsistent(treeHead(older), treeHead(head), path.map(bytes))
}

function treeHead({ size, root }: LogHead): TreeHead {
  return { size, root: bytes(root) }
}

function bytes(hex: string): Buffer {
  return Buffer.from(hex, 'hex')
}
