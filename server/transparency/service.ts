import {
  consistencyNodes,
  inclusionNodes,
  joinPeaks,
  rootNodes,
  TreeEdge,
  type TreeNode,
} from '../../pki/merkle.ts'
import { leafOf, type LogHead, type LogProofs } from '../../pki/tuf/log-entry.ts'
import type { Db, Tx } from '../db/client.ts'
import {
  type Edge,
  findLeaves,
  insertLeaves,
  lockEdge,
  type NewEntry,
  type Node,
  readEdge,
  readNodes,
} from './store.ts'

/**
 * Appends what is not in the log yet, each once, in the caller's transaction: what is signed and stored is logged, or neither.
 * Appending is one at a time in the whole installation, until the transaction ends.
 */
export async function appendEntries(tx: Tx, data: readonly Buffer[], now: Date): Promise<void> {
  if (data.length === 0) return
  const edge = await lockEdge(tx)
  const byLeaf = new Map(data.map((entry) => [leafOf(entry), entry.toString()]))
  const known = await findLeaves(tx, [...byLeaf.keys()])
  const added = [...byLeaf].filter(([leaf]) => !known.has(leaf))
  if (added.length === 0) return
  const tree = treeOf(edge)
  const entries: NewEntry[] = []
  const nodes: Node[] = []
  for (const [leaf, text] of added) {
    entries.push({ no: tree.size, data: text, leaf })
    for (const { level, index, hash } of tree.append(Buffer.from(leaf, 'hex'))) {
      nodes.push({ level, no: index, hash: hash.toString('hex') })
    }
  }
  const peaks = tree.peaks.map((hash) => hash.toString('hex'))
  await insertLeaves(tx, { entries, nodes, edge: { size: tree.size, peaks } }, now)
}

/** The newest head. */
export async function logHead(db: Db): Promise<LogHead> {
  const edge = await readEdge(db)
  return { size: edge.size, root: treeOf(edge).root.toString('hex') }
}

function treeOf({ size, peaks }: Edge): TreeEdge {
  return new TreeEdge(
    size,
    peaks.map((hex) => Buffer.from(hex, 'hex')),
  )
}

/** The head that the log had with so many leaves; undefined when it has fewer. */
export async function headAt(db: Db, size: number): Promise<LogHead | undefined> {
  if (size > (await readEdge(db)).size) return undefined
  const nodes = await readNodes(db, rootNodes(size))
  return { size, root: hashOf(nodes, rootNodes(size)).toString('hex') }
}

export interface Question {
  /** Lower hex. */
  leaves: readonly string[]
  /** Sizes of heads that are held. */
  sizes: readonly number[]
}

/**
 * Proofs for the newest head, for many who ask at once, in three reads whatever the size of the log. Leaves that are not in
 * it and sizes that it has not reached are left out.
 */
export async function proofsFor<T extends Question>(
  db: Db,
  questions: readonly T[],
): Promise<{ head: LogHead; proofs: Map<T, LogProofs> }> {
  const head = await logHead(db)
  const numbers = await findLeaves(db, [...new Set(questions.flatMap(({ leaves }) => leaves))])
  const plans = questions.map((question) => ({
    question,
    included: question.leaves.flatMap((leaf) => {
      const no = numbers.get(leaf)
      return no === undefined || no >= head.size
        ? []
        : [{ leaf, no, path: inclusionNodes(no, head.size) }]
    }),
    consistent: question.sizes
      .filter((size) => size > 0 && size < head.size)
      .map((size) => ({ size, path: consistencyNodes(size, head.size) })),
  }))
  const wanted = plans.flatMap(({ included, consistent }) =>
    [...included, ...consistent].flatMap(({ path }) => path.flat()),
  )
  const unique = new Map(wanted.map((node) => [`${node.level}/${node.index}`, node]))
  const nodes = await readNodes(db, [...unique.values()])
  const hashes = (path: TreeNode[][]) => path.map((part) => hashOf(nodes, part).toString('hex'))
  const proofs = plans.map(({ question, included, consistent }): [T, LogProofs] => [
    question,
    {
      included: Object.fromEntries(
        included.map(({ leaf, no, path }) => [leaf, { no, path: hashes(path) }]),
      ),
      consistent: Object.fromEntries(consistent.map(({ size, path }) => [size, hashes(path)])),
    },
  ])
  return { head, proofs: new Map(proofs) }
}

function hashOf(nodes: ReadonlyMap<string, Buffer>, part: readonly TreeNode[]): Buffer {
  return joinPeaks(
    part.map(({ level, index }) => {
      const hash = nodes.get(`${level}/${index}`)
      if (!hash) throw new Error(`The log lacks its subtree ${level}/${index}`)
      return hash
    }),
  )
}
