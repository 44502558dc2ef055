import { checkDer } from '../../pki/der/check.ts'
import { readHeader } from '../../pki/der/reader.ts'
import { header } from '../../pki/der/writer.ts'
import { PkiError } from '../../pki/errors.ts'

/** Numbers from a seed, the same on every machine (mulberry32). */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** A whole number from 0 to `bound - 1`; 0 when the bound is 0. */
  below(bound: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound)
  }

  one<T>(list: readonly [T, ...T[]]): T {
    return list[this.below(list.length)] ?? list[0]
  }
}

/** An element that can be changed and written again, with the lengths around it set right. */
export interface Node {
  tag: number
  /** Octets in front of nested DER: the unused bits of a BIT STRING. */
  prefix: Buffer
  content: Buffer
  children: Node[] | undefined
}

const octetString = 0x04
const bitString = 0x03

/** The tree of an honest DER element. OCTET and BIT STRINGs that hold DER are opened too. */
export function toTree(der: Buffer): Node {
  const { tag, contentStart, end } = readHeader(der, 0, der.length)
  const content = der.subarray(contentStart, end)
  const prefix = tag === bitString ? content.subarray(0, 1) : Buffer.alloc(0)
  const inner = content.subarray(prefix.length)
  const isOpen = (tag & 0x20) !== 0 || ((tag === octetString || tag === bitString) && isDer(inner))
  return { tag, prefix, content, children: isOpen ? childrenOf(inner) : undefined }
}

function childrenOf(content: Buffer): Node[] {
  const children: Node[] = []
  for (let at = 0; at < content.length;) {
    const { end } = readHeader(content, at, content.length)
    children.push(toTree(content.subarray(at, end)))
    at = end
  }
  return children
}

function isDer(content: Buffer): boolean {
  try {
    checkDer(content)
    return content.length > 2
  } catch (error) {
    if (error instanceof PkiError) return false
    throw error
  }
}

export function toDer({ tag, prefix, content, children }: Node): Buffer {
  const inside = children ? Buffer.concat([prefix, ...children.map(toDer)]) : content
  return Buffer.concat([header(tag, inside.length), inside])
}

function copyOf(node: Node): Node {
  return { ...node, children: node.children?.map(copyOf) }
}

function nodesOf(root: Node): [Node, ...Node[]] {
  return [root, ...(root.children ?? []).flatMap(nodesOf)]
}

const oddBytes = [0x00, 0x01, 0x7f, 0x80, 0xff, 0x30, 0x31, 0x04, 0x05, 0xa0] as const
const oddTags = [
  0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0a, 0x0c, 0x13, 0x16, 0x17, 0x18, 0x30, 0x31, 0x24, 0x80,
  0x81, 0x82, 0x86, 0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0x1f, 0x00,
] as const

/** Changes the bytes without regard to their structure. */
export function mutateBytes(der: Buffer, dice: Dice): Buffer {
  const at = dice.below(der.length)
  const length = 1 + dice.below(8)
  const changed = Buffer.from(der)
  switch (dice.below(6)) {
    case 0:
      changed[at] = (changed[at] ?? 0) ^ (1 << dice.below(8))
      return changed
    case 1:
      changed[at] = dice.one(oddBytes)
      return changed
    case 2:
      return changed.subarray(0, at)
    case 3:
      return Buffer.concat([changed.subarray(0, at), changed.subarray(at + length)])
    case 4:
      return Buffer.concat([changed.subarray(0, at + length), changed.subarray(at)])
    default:
      return Buffer.concat([changed, Buffer.alloc(length, dice.one(oddBytes))])
  }
}

/** Changes one to three elements; the lengths around them are right again, so that it goes deep. */
export function mutateTree(der: Buffer, dice: Dice): Buffer {
  const tree = toTree(der)
  for (let left = 1 + dice.below(3); left > 0; left -= 1) mutateNode(tree, dice)
  return toDer(tree)
}

function mutateNode(tree: Node, dice: Dice): void {
  const nodes = nodesOf(tree)
  const node = dice.one(nodes)
  const other = dice.one(nodes)
  const { children } = node
  if (!children) {
    mutateLeaf(node, dice)
    return
  }
  const at = dice.below(children.length)
  const [child] = children.slice(at)
  switch (dice.below(6)) {
    case 0:
      node.tag = dice.one(oddTags)
      return
    case 1:
      children.splice(at, 1)
      return
    case 2:
      if (child) children.splice(at, 0, copyOf(child))
      return
    case 3:
      children.reverse()
      return
    case 4:
      // A copy, so that no element comes to stand inside itself.
      if (child) children[at] = copyOf(other)
      return
    default:
      children.splice(dice.below(children.length + 1), 0, copyOf(other))
  }
}

function mutateLeaf(node: Node, dice: Dice): void {
  const { content } = node
  switch (dice.below(6)) {
    case 0:
      node.tag = dice.one(oddTags)
      return
    case 1:
      node.content = Buffer.alloc(0)
      return
    case 2:
      node.content = Buffer.concat([Buffer.from([dice.one(oddBytes)]), content])
      return
    case 3:
      node.content = Buffer.concat([content, content])
      return
    case 4:
      node.content = content.subarray(0, dice.below(content.length))
      return
    default: {
      const changed = Buffer.from(content)
      if (changed.length > 0) changed[dice.below(changed.length)] = dice.below(256)
      node.content = changed
    }
  }
}
