import { strToU8, zipSync } from 'fflate'
import { describe, expect, test } from 'vitest'

import { readZip, type ZipLimits } from '../../../server/enrollment/zip.ts'
import { DomainError } from '../../../server/errors.ts'

const limits: ZipLimits = {
  maxEntries: 500,
  maxEntryBytes: 1_000,
  maxBytes: 100_000,
  maxTotalBytes: 50_000,
}

async function* pieces(archive: Uint8Array, size = 1_000) {
  for (let at = 0; at < archive.length; at += size)
    yield Buffer.from(archive.subarray(at, at + size))
}

async function read(archive: Uint8Array, size?: number): Promise<(string | undefined)[]> {
  const files: (string | undefined)[] = []
  for await (const file of readZip(pieces(archive, size), limits)) {
    files.push(file?.toString('latin1'))
  }
  return files
}

const refused = (code: string) => expect.objectContaining({ code })
const zip = (files: Record<string, string>, level: 0 | 6 = 6) =>
  zipSync(Object.fromEntries(Object.entries(files).map(([n, text]) => [n, strToU8(text)])), {
    level,
  })

/** Every place of `from` overwritten with `to`, which has the same length. */
function patched(archive: Uint8Array, from: string, to: string): Buffer {
  return Buffer.from(Buffer.from(archive).toString('latin1').replaceAll(from, to), 'latin1')
}

/** The field of 32 bits at `offset` in the directory entry of a file. */
function withDirectoryField(archive: Uint8Array, offset: number, value: number): Buffer {
  const changed = Buffer.from(archive)
  const at = changed.indexOf(Buffer.from('504b0102', 'hex'))
  changed.writeUInt32LE(value, at + offset)
  return changed
}
const compressedSize = 20
const originalSize = 24

describe('a ZIP', () => {
  test('gives its files in order, packed or not, without folders, whatever they are called', async () => {
    const files = { '../../etc/passwd': 'a', '10.csr': 'b', '2.csr': 'c', 'ü/': '', 'C:\\x': 'd' }
    for (const level of [0, 6] as const) {
      expect(await read(zip(files, level))).toEqual(
        ['b', 'c', 'a', 'd'].toSorted(byPlace(files, level)),
      )
    }
    const many = Object.fromEntries(Array.from({ length: 450 }, (_, n) => [`f${n}`, `text ${n}`]))
    expect(await read(zip(many), 7)).toEqual(Object.values(many))
    expect(await read(zip({}))).toEqual([])
  })

  test('a file that is too large is told of, and the others are read', async () => {
    const bomb = 'x'.repeat(40_000_000)
    expect(await read(zip({ a: 'a', bomb, z: 'z' }))).toEqual(['a', undefined, 'z'])
  })

  test('is refused beyond its bounds', async () => {
    const many = Object.fromEntries(Array.from({ length: 501 }, (_, n) => [`f${n}`, '']))
    await expect(read(zip(many))).rejects.toEqual(refused('too-large'))
    const wide = Object.fromEntries(
      Array.from({ length: 60 }, (_, n) => [`f${n}`, 'x'.repeat(1_000)]),
    )
    await expect(read(zip(wide))).rejects.toEqual(refused('too-large'))
    await expect(read(Buffer.alloc(limits.maxBytes + 1))).rejects.toEqual(refused('too-large'))
  })
})

/** The library puts names that are numbers no differently than others, but an object does. */
function byPlace(files: Record<string, string>, level: 0 | 6) {
  const archive = Buffer.from(zip(files, level)).toString('latin1')
  const place = (text: string) => {
    const [name = ''] = Object.entries(files).find(([, content]) => content === text) ?? []
    return archive.indexOf(name)
  }
  return (a: string, b: string) => place(a) - place(b)
}

describe('a ZIP that lies', () => {
  test('about sizes: nothing is unpacked into more than was said', async () => {
    const honest = zip({ a: 'y'.repeat(900) })
    expect(await read(honest)).toEqual(['y'.repeat(900)])
    // A request that is cut off has no signature that fits.
    expect(await read(withDirectoryField(honest, originalSize, 10))).toEqual(['y'.repeat(10)])
    const stored = zip({ a: 'y'.repeat(900) }, 0)
    expect(await read(withDirectoryField(stored, compressedSize, 90_000))).toEqual([undefined])
    expect(await read(withDirectoryField(honest, compressedSize, 0xffff_fff0))).toEqual([undefined])
  })

  test('about names: two alike, or one that means something to an object', async () => {
    const archive = zip({ 'one.csr': 'a', 'two.csr': 'b' })
    expect(await read(archive)).toEqual(['a', 'b'])
    await expect(read(patched(archive, 'two.csr', 'one.csr'))).rejects.toEqual(
      refused('invalid-request'),
    )
    await expect(
      read(patched(zip({ '--proto--': 'a' }), '--proto--', '__proto__')),
    ).rejects.toEqual(refused('invalid-request'))
    expect(await read(zip({ constructor: 'a', toString: 'b' }))).toEqual(['a', 'b'])
  })

  test('each prefix and each changed byte is read or refused, nothing else', async () => {
    const archive = Buffer.from(zip({ 'a.csr': 'a'.repeat(99), 'b.csr': 'b' }))
    for (let end = 0; end < archive.length; end += 1) {
      await expect(read(archive.subarray(0, end))).rejects.toBeInstanceOf(DomainError)
    }
    for (let at = 0; at < archive.length; at += 1) {
      for (const bits of [0x01, 0x80, 0xff]) {
        const changed = Buffer.from(archive)
        changed[at] = (changed[at] ?? 0) ^ bits
        try {
          expect((await read(changed)).length).toBeLessThanOrEqual(2)
        } catch (error) {
          expect(error).toBeInstanceOf(DomainError)
        }
      }
    }
  })
})
