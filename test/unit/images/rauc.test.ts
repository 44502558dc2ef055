import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { readManifest } from '../../../pki/images/manifest.ts'
import { readRauc } from '../../../pki/images/rauc.ts'
import { bytesSource, ImageError } from '../../../pki/images/source.ts'
import { readSquashfsFile } from '../../../pki/images/squashfs.ts'
import { readSwu } from '../../../pki/images/swu.ts'
import { Dice, mutateBytes } from '../../support/der-mutations.ts'
import { cpio, swDescription } from '../../support/swu.ts'

/** Made by RAUC 1.8 with mksquashfs 4.5. */
const fixture = (name: string) =>
  readFileSync(new URL(`../../fixtures/images/${name}.raucb`, import.meta.url))
const read = async (bytes: Buffer) => await readRauc(bytesSource(bytes))

test.each([
  ['plain-gzip', 'plain'],
  ['plain-zstd', 'plain'],
  ['verity-gzip', 'verity'],
])("RAUC's own bundle, %s", async (name, format) => {
  const bundle = await read(fixture(name))
  expect(bundle).toMatchObject({ compatible: 'gate-2', version: '2.0.1', format })
  expect(bundle.images).toMatchObject([{ slot: 'rootfs', filename: 'rootfs.img' }])
})

test('what cannot be unpacked here is said to be that, and not damaged', async () => {
  await expect(read(fixture('plain-xz'))).rejects.toMatchObject({
    code: 'unreadable',
    message: 'The squashfs is compressed with xz',
  })
})

test('a squashfs without signature, and other files, are no bundles', async () => {
  const bundle = fixture('plain-gzip')
  const others = [bundle.subarray(0, 8_192), Buffer.alloc(5_000), Buffer.from('hsqs')]
  for (const bytes of others) await expect(read(bytes)).rejects.toMatchObject({ code: 'other' })
})

test.each([
  ['[update]\ncompatible', 'line 2, column 1: key=value is expected'],
  ['a=b', 'A group is expected before this line'],
  ['[update]\nversion=1', 'no compatible'],
  ['[update]\ncompatible=a\n[update]', '[update] is there twice'],
  ['[update]\ncompatible=a\ncompatible=b', 'compatible is there twice'],
  ['[update]\ncompatible=a\n[bundle]\nformat=new', 'a format that is not known'],
  ['a\n'.repeat(2_001), 'at most 2000 lines'],
])('a manifest that is wrong is refused: %j', (text, message) => {
  expect(() => readManifest(Buffer.from(text))).toThrow(message)
})

test('whatever is changed in a bundle or a .swu, reading it ends in a word about it', async () => {
  const dice = new Dice(7)
  const payload = Buffer.alloc(100, 1)
  const swu = cpio([
    { name: 'sw-description', bytes: swDescription('1', payload, '/tmp/x') },
    { name: 'payload.bin', bytes: payload },
  ])
  const seeds = [
    { bytes: fixture('plain-gzip'), readAny: readRauc },
    { bytes: fixture('plain-zstd'), readAny: readRauc },
    { bytes: fixture('verity-gzip'), readAny: readRauc },
    { bytes: swu, readAny: readSwu },
  ] as const
  let refused = 0
  for (let n = 0; n < 3_000; n++) {
    const { bytes, readAny } = dice.one(seeds)
    // Where it matters: the superblock, the tables at the end, and the signature's beginning.
    const changed = n % 3 === 0 ? withOddSuperblock(bytes, dice) : mutateBytes(bytes, dice)
    try {
      await readAny(bytesSource(changed))
    } catch (error) {
      expect(error, String(error)).toBeInstanceOf(ImageError)
      refused += 1
    }
  }
  expect(refused).toBeGreaterThan(300)
})

function withOddSuperblock(bytes: Buffer, dice: Dice): Buffer {
  const changed = Buffer.from(bytes)
  const at = dice.below(96)
  changed[at] = dice.one([0, 1, 0x7f, 0x80, 0xff, changed[at] ?? 0])
  return changed
}

/** A root folder of so many bytes, whose listing is spread over blocks of so many. */
function squashfsOf({ listing, block }: { listing: number; block: number }): Buffer {
  const inode = Buffer.alloc(40)
  inode.writeUInt16LE(8, 0)
  inode.writeUInt32LE(listing + 3, 20)
  const stored = (bytes: Buffer) => {
    const head = Buffer.alloc(2)
    head.writeUInt16LE(0x8000 | bytes.length)
    return Buffer.concat([head, bytes])
  }
  const first = Math.ceil(listing / block)
  const blocks = Array.from({ length: first }, () => stored(Buffer.alloc(block)))
  const content = Buffer.concat([Buffer.alloc(96), stored(inode), ...blocks])
  content.write('hsqs', 0, 'latin1')
  content.writeUInt32LE(4_096, 12)
  content.writeUInt16LE(1, 20)
  content.writeUInt16LE(4, 28)
  content.writeBigUInt64LE(BigInt(content.length), 40)
  content.writeBigUInt64LE(96n, 64)
  content.writeBigUInt64LE(138n, 72)
  return content
}

test('a table is read in full blocks, or not at all', async () => {
  const find = async (image: Buffer) =>
    await readSquashfsFile(bytesSource(image), 'manifest.raucm', { maxBytes: 1_000 })
  await expect(find(squashfsOf({ listing: 16_384, block: 8_192 }))).rejects.toMatchObject({
    message: 'There is no manifest.raucm in the image',
  })
  await expect(find(squashfsOf({ listing: 2_000, block: 1 }))).rejects.toMatchObject({
    message: 'A table of the squashfs is damaged',
  })
})
