import { createHash } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import {
  emptyRoot,
  isConsistent,
  isIncluded,
  leafHash,
  nodeHash,
  rootNodes,
  TreeEdge,
} from '../../../pki/merkle.ts'
import { Log } from '../../support/merkle-log.ts'

/** The leaves that implementations of RFC 6962 are commonly tested with, and the roots of their first 1 to 8. */
const inputs = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
].map((hex) => Buffer.from(hex, 'hex'))
const roots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

/** As RFC 6962 section 2.1 defines it, by recursion over all leaves: slow, and nothing in common with the code tested. */
function treeHash(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return createHash('sha256').digest()
  const [first] = leaves
  if (leaves.length === 1 && first) return leafHash(first)
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return nodeHash(treeHash(leaves.slice(0, k)), treeHash(leaves.slice(k)))
}

const known = new Log(inputs)
const many = new Log(Array.from({ length: 65 }, (_, n) => Buffer.from(`entry ${n}`)))
const sizes = Array.from({ length: 65 }, (_, n) => n + 1)

describe('the tree of RFC 6962', () => {
  test('has the known roots', () => {
    expect(emptyRoot.toString('hex')).toBe(
      'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    )
    expect(sizes.slice(0, 8).map((size) => known.head(size).root.toString('hex'))).toEqual(roots)
    expect(known.edge.root.toString('hex')).toBe(roots[7])
  })

  test('has the known proofs', () => {
    const hex = (proof: Buffer[]) => proof.map((hash) => hash.toString('hex').slice(0, 8))
    expect(hex(known.inclusion(0, 8))).toEqual(['96a296d2', '5f083f0a', '6b47aaf2'])
    expect(hex(known.inclusion(5, 8))).toEqual(['bc1a0643', 'ca854ea1', 'd37ee418'])
    expect(hex(known.inclusion(2, 3))).toEqual(['fac54203'])
    expect(known.consistency(1, 1)).toEqual([])
    expect(hex(known.consistency(1, 8))).toEqual(['96a296d2', '5f083f0a', '6b47aaf2'])
    expect(hex(known.consistency(6, 8))).toEqual(['0ebc5d34', 'ca854ea1', 'd37ee418'])
    expect(hex(known.consistency(2, 5))).toEqual(['5f083f0a', 'bc1a0643'])
  })

  test('agrees with the definition at every size, and can be continued from its right edge', () => {
    for (const size of sizes) {
      const root = treeHash(many.leaves.slice(0, size))
      expect(many.head(size).root.equals(root)).toBe(true)
      const peaks = rootNodes(size).map((node) => many.hashOf([node]))
      const edge = new TreeEdge(size, peaks)
      expect(edge.root.equals(root)).toBe(true)
      edge.append(leafHash(Buffer.from('next')))
      const next = treeHash([...many.leaves.slice(0, size), Buffer.from('next')])
      expect(edge.root.equals(next)).toBe(true)
    }
  })
})

describe('an inclusion proof', () => {
  test('holds for every leaf of every tree, and for no other place, leaf or root', () => {
    for (const size of sizes) {
      for (let index = 0; index < size; index += 1) {
        const leaf = leafHash(many.leaves[index] ?? Buffer.alloc(0))
        const proof = many.inclusion(index, size)
        const head = many.head(size)
        expect(isIncluded({ leaf, index, proof }, head)).toBe(true)
        expect(isIncluded({ leaf: leafHash(Buffer.from('other')), index, proof }, head)).toBe(false)
        expect(isIncluded({ leaf, index: index + 1, proof }, head)).toBe(false)
        expect(isIncluded({ leaf, index, proof: [...proof, emptyRoot] }, head)).toBe(false)
        if (size > 1) expect(isIncluded({ leaf, index, proof: proof.slice(1) }, head)).toBe(false)
      }
    }
  })

  test('of wrong form is refused, not thrown at', () => {
    const head = many.head(8)
    const leaf = leafHash(many.leaves[0] ?? Buffer.alloc(0))
    const proof = many.inclusion(0, 8)
    for (const index of [-1, 0.5, Number.NaN, 8, 2 ** 60]) {
      expect(isIncluded({ leaf, index, proof }, head)).toBe(false)
    }
    expect(isIncluded({ leaf, index: 0, proof: [Buffer.alloc(31)] }, head)).toBe(false)
    const endless = Array.from({ length: 1_000 }, () => emptyRoot)
    expect(isIncluded({ leaf, index: 0, proof: endless }, head)).toBe(false)
    expect(isIncluded({ leaf, index: 0, proof }, head)).toBe(true)
  })
})

describe('a consistency proof', () => {
  test('holds between any two sizes of one log', () => {
    for (const to of sizes) {
      for (let from = 1; from <= to; from += 1) {
        const proof = many.consistency(from, to)
        expect(isConsistent(many.head(from), many.head(to), proof), `${from} to ${to}`).toBe(true)
      }
    }
  })

  test('does not hold for a log that says something else about the past', () => {
    for (const to of sizes.slice(8)) {
      for (const changed of [0, 3, 7]) {
        const leaves = many.leaves.map((leaf, n) => (n === changed ? Buffer.from('secret') : leaf))
        const forked = new Log(leaves.slice(0, to))
        const proof = forked.consistency(8, to)
        expect(isConsistent(many.head(8), forked.head(to), proof)).toBe(false)
        expect(isConsistent(forked.head(8), forked.head(to), proof)).toBe(true)
      }
    }
  })

  test('does not hold backwards, shortened, lengthened or for the same size with another root', () => {
    const [older, newer] = [many.head(20), many.head(50)]
    const proof = many.consistency(20, 50)
    expect(isConsistent(older, newer, proof)).toBe(true)
    expect(isConsistent(newer, older, proof)).toBe(false)
    expect(isConsistent(older, newer, proof.slice(0, -1))).toBe(false)
    expect(isConsistent(older, newer, [...proof, emptyRoot])).toBe(false)
    expect(isConsistent(older, { ...newer, size: 70 }, proof)).toBe(false)
    expect(isConsistent(older, { size: 20, root: newer.root }, [])).toBe(false)
    expect(isConsistent(older, older, [])).toBe(true)
  })
})
