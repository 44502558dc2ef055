import { createHash } from 'node:crypto'

/*
 * The Merkle tree of RFC 6962 section 2.1, append-only: leaf hash SHA-256(0x00 ‖ data), node hash SHA-256(0x01 ‖ left ‖
 * right). A complete subtree never changes, so whoever keeps its hash answers for a tree of any size with a few look-ups.
 */

const hashBytes = 32
/** A proof in a tree of 2^53 leaves is no longer than this. */
const maxProof = 106

export function leafHash(data: Buffer): Buffer {
  return createHash('sha256').update(leafPrefix).update(data).digest()
}

export function nodeHash(left: Buffer, right: Buffer): Buffer {
  return createHash('sha256').update(nodePrefix).update(left).update(right).digest()
}

const leafPrefix = Buffer.from([0])
const nodePrefix = Buffer.from([1])

/** The root of a tree without leaves. */
export const emptyRoot = createHash('sha256').digest()

/** A complete subtree: the 2^level leaves from index·2^level on. */
export interface TreeNode {
  level: number
  index: number
}

/** Leaves `begin` up to but not including `end`, as RFC 6962 splits them. */
interface Range {
  begin: number
  end: number
}

/** The complete subtrees, left to right, of which the tree hash of a range is made; at most one for each level. */
function peaksOf({ begin, end }: Range): TreeNode[] {
  const peaks: TreeNode[] = []
  for (let at = begin; at < end;) {
    const level = Math.floor(Math.log2(end - at))
    peaks.push({ level, index: at / 2 ** level })
    at += 2 ** level
  }
  return peaks
}

/** The subtrees of which the root of a tree of `size` leaves is made. */
export function rootNodes(size: number): TreeNode[] {
  return peaksOf({ begin: 0, end: size })
}

/** The hash over neighbours, left to right. */
export function joinPeaks(hashes: readonly Buffer[]): Buffer {
  const [last, ...before] = hashes.toReversed()
  return before.reduce((right, left) => nodeHash(left, right), last ?? emptyRoot)
}

/** For each hash of the inclusion proof (RFC 6962 section 2.1.1) the subtrees it is made of. */
export function inclusionNodes(index: number, size: number): TreeNode[][] {
  const path: TreeNode[][] = []
  let range: Range = { begin: 0, end: size }
  while (range.end - range.begin > 1) {
    const [left, right] = split(range)
    const isLeft = index < left.end
    path.push(peaksOf(isLeft ? right : left))
    range = isLeft ? left : right
  }
  return path.toReversed()
}

/** For each hash of the consistency proof (RFC 6962 section 2.1.2) between two sizes the subtrees it is made of. */
export function consistencyNodes(from: number, to: number): TreeNode[][] {
  const path: TreeNode[][] = []
  let range: Range = { begin: 0, end: to }
  // The whole of the older tree is known to whoever asks.
  let isKnown = true
  while (range.end !== from) {
    const [left, right] = split(range)
    const isLeft = from <= left.end
    path.push(peaksOf(isLeft ? right : left))
    range = isLeft ? left : right
    isKnown &&= isLeft
  }
  if (!isKnown) path.push(peaksOf(range))
  return path.toReversed()
}

/** At the largest power of two below the number of leaves. */
function split({ begin, end }: Range): [Range, Range] {
  const middle = begin + 2 ** (Math.ceil(Math.log2(end - begin)) - 1)
  return [
    { begin, end: middle },
    { begin: middle, end },
  ]
}

/** The right edge of a tree: what is needed to append to it, and nothing more. */
export class TreeEdge {
  #size: number
  readonly #peaks: Buffer[]

  /** @param peaks hashes of `rootNodes(size)` */
  constructor(size: number, peaks: readonly Buffer[]) {
    if (peaks.length !== rootNodes(size).length) throw new Error('These are not its peaks')
    this.#size = size
    this.#peaks = [...peaks]
  }

  get size(): number {
    return this.#size
  }

  get peaks(): readonly Buffer[] {
    return this.#peaks
  }

  get root(): Buffer {
    return joinPeaks(this.#peaks)
  }

  /** Appends a leaf hash. Gives every subtree that is complete now, the leaf first. */
  append(leaf: Buffer): (TreeNode & { hash: Buffer })[] {
    const completed = [{ level: 0, index: this.#size, hash: leaf }]
    let hash = leaf
    for (let level = 1, index = this.#size; index % 2 === 1; level += 1) {
      index = (index - 1) / 2
      hash = nodeHash(this.#peaks.pop() ?? emptyRoot, hash)
      completed.push({ level, index, hash })
    }
    this.#peaks.push(hash)
    this.#size += 1
    return completed
  }
}

export interface TreeHead {
  size: number
  root: Buffer
}

/** Whether `leaf` is number `index` of the tree (RFC 9162 section 2.1.3.2, the same proof as that of RFC 6962). */
export function isIncluded(
  { leaf, index, proof }: { leaf: Buffer; index: number; proof: readonly Buffer[] },
  { size, root }: TreeHead,
): boolean {
  if (!isCount(index) || !isCount(size) || index >= size || !isProof(proof)) return false
  let hash = leaf
  let at = index
  let last = size - 1
  for (const sibling of proof) {
    if (last === 0) return false
    if (at % 2 === 1 || at === last) {
      hash = nodeHash(sibling, hash)
      for (; at % 2 === 0 && at !== 0; at /= 2) last = half(last)
    } else {
      hash = nodeHash(hash, sibling)
    }
    at = half(at)
    last = half(last)
  }
  return last === 0 && hash.equals(root)
}

/** Whether the newer tree holds all that the older one held, in the same order (RFC 9162 section 2.1.4.2). */
export function isConsistent(older: TreeHead, newer: TreeHead, proof: readonly Buffer[]): boolean {
  if (!isCount(older.size) || !isCount(newer.size) || !isProof(proof)) return false
  if (older.size === newer.size) return proof.length === 0 && older.root.equals(newer.root)
  if (older.size === 0) return proof.length === 0 && older.root.equals(emptyRoot)
  if (older.size > newer.size) return false
  const isWhole = Number.isInteger(Math.log2(older.size))
  const [first, ...rest] = isWhole ? [older.root, ...proof] : proof
  if (!first) return false
  let at = older.size - 1
  let last = newer.size - 1
  for (; at % 2 === 1; at = half(at)) last = half(last)
  let before = first
  let after = first
  for (const hash of rest) {
    if (last === 0) return false
    if (at % 2 === 1 || at === last) {
      before = nodeHash(hash, before)
      after = nodeHash(hash, after)
      for (; at % 2 === 0 && at !== 0; at /= 2) last = half(last)
    } else {
      after = nodeHash(after, hash)
    }
    at = half(at)
    last = half(last)
  }
  return last === 0 && before.equals(older.root) && after.equals(newer.root)
}

function half(value: number): number {
  return Math.floor(value / 2)
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0
}

function isProof(proof: readonly Buffer[]): boolean {
  return proof.length <= maxProof && proof.every((hash) => hash.length === hashBytes)
}
