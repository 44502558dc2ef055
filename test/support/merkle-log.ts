import {
  consistencyNodes,
  inclusionNodes,
  joinPeaks,
  leafHash,
  rootNodes,
  TreeEdge,
  type TreeHead,
  type TreeNode,
} from '../../pki/merkle.ts'
import type { LogHead, LogProofs } from '../../pki/tuf/log-entry.ts'

/** A log that keeps every complete subtree. */
export class Log {
  readonly edge = new TreeEdge(0, [])
  readonly #nodes = new Map<string, Buffer>()

  readonly leaves: readonly Buffer[]

  constructor(leaves: readonly Buffer[]) {
    this.leaves = leaves
    for (const leaf of leaves) {
      for (const { level, index, hash } of this.edge.append(leafHash(leaf))) {
        this.#nodes.set(`${level}/${index}`, hash)
      }
    }
  }

  hashOf(nodes: readonly TreeNode[]): Buffer {
    return joinPeaks(
      nodes.map(({ level, index }) => {
        const hash = this.#nodes.get(`${level}/${index}`)
        if (!hash) throw new Error(`no node ${level}/${index}`)
        return hash
      }),
    )
  }

  head(size: number): TreeHead {
    return { size, root: this.hashOf(rootNodes(size)) }
  }

  inclusion(index: number, size: number): Buffer[] {
    return inclusionNodes(index, size).map((nodes) => this.hashOf(nodes))
  }

  consistency(from: number, to: number): Buffer[] {
    return consistencyNodes(from, to).map((nodes) => this.hashOf(nodes))
  }

  /** As a server gives it: the newest head, and proofs for these entries and for a head of `from` leaves. */
  answer(entries: readonly Buffer[], from = 0): { head: LogHead; proofs: LogProofs } {
    const hex = (hashes: readonly Buffer[]) => hashes.map((hash) => hash.toString('hex'))
    const size = this.leaves.length
    const included = entries.flatMap((entry) => {
      const no = this.leaves.findIndex((leaf) => leaf.equals(entry))
      return no < 0
        ? []
        : [[leafHash(entry).toString('hex'), { no, path: hex(this.inclusion(no, size)) }] as const]
    })
    return {
      head: { size, root: this.edge.root.toString('hex') },
      proofs: {
        included: Object.fromEntries(included),
        consistent: from > 0 && from < size ? { [from]: hex(this.consistency(from, size)) } : {},
      },
    }
  }
}
