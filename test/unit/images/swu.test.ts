import { createHash } from 'node:crypto'

import { expect, test } from 'vitest'

import { bytesSource } from '../../../pki/images/source.ts'
import { readSwu, verifySwuImages } from '../../../pki/images/swu.ts'
import { cpio, type CpioFile } from '../../support/swu.ts'

const payload = Buffer.from('a payload of some bytes')
const sha256 = createHash('sha256').update(payload).digest('hex')

const file = (name: string, bytes: Buffer | string = payload): CpioFile => ({
  name,
  bytes: Buffer.from(bytes),
})
const description = (images: string) =>
  file('sw-description', `software = { version = "1.0"; images: ( ${images} ); };`)
const one = `{ filename = "a.bin"; sha256 = "${sha256}"; }`
const read = async (...files: CpioFile[]) => await readSwu(bytesSource(cpio(files)))

test('a signed image is read, and is whole', async () => {
  const bytes = bytesSource(
    cpio([description(one), file('sw-description.sig', 's'), file('a.bin')]),
  )
  const swu = await readSwu(bytes)
  expect(swu).toMatchObject({ version: '1.0', isSigned: true })
  expect(swu.entries.map(({ name, size }) => [name, size])).toEqual([
    ['sw-description', description(one).bytes.length],
    ['sw-description.sig', 1],
    ['a.bin', payload.length],
  ])
  await verifySwuImages(bytes, swu)
})

test('an unsigned one is said to be one', async () => {
  expect((await read(description(one), file('a.bin'))).isSigned).toBe(false)
})

test('the plain format of cpio is read too', async () => {
  const archive = cpio([description(one), file('a.bin')])
  const plain = Buffer.from(archive.toString('latin1').replaceAll('070702', '070701'), 'latin1')
  expect((await readSwu(bytesSource(plain))).entries[1]).toMatchObject({ sum: undefined })
})

test('an image that is not the described one is found', async () => {
  const bytes = bytesSource(cpio([description(one), file('a.bin', 'another payload')]))
  await expect(verifySwuImages(bytes, await readSwu(bytes))).rejects.toThrow(
    'a.bin has not the SHA-256 of the description',
  )
})

test.each<[string, CpioFile[], string]>([
  ['another file first', [file('a.bin'), description(one)], 'The first file of the archive'],
  [
    'a signature elsewhere',
    [description(one), file('a.bin'), file('sw-description.sig')],
    'right after',
  ],
  ['an image that is missing', [description(one)], 'a.bin is described and not in the archive'],
  [
    'two of one name',
    [description(one), file('a.bin'), file('a.bin')],
    'a.bin is in the archive twice',
  ],
  [
    'a compression that nobody knows',
    [description('{ filename = "a.bin"; compressed = "rot13"; }'), file('a.bin')],
    'compressed in a way',
  ],
  [
    'a hash that is none',
    [description('{ filename = "a.bin"; sha256 = "12"; }'), file('a.bin')],
    'is no SHA-256',
  ],
  ['no software', [file('sw-description', 'version = "1"')], 'no group software'],
  ['a name with an escape code', [description(one), file('a\u001b[2J')], 'not plain text'],
])('%s is refused', async (_, files, message) => {
  await expect(read(...files)).rejects.toThrow(message)
})

test('bytes of another format are said to be that, and not damaged', async () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(500, 7), Buffer.from('hsqs')]) {
    await expect(readSwu(bytesSource(bytes))).rejects.toMatchObject({ code: 'other' })
  }
})

test('an archive that is cut off anywhere is refused', async () => {
  const archive = cpio([description(one), file('a.bin')])
  const end = archive.indexOf('TRAILER!!!')
  for (let length = 110; length < end; length += 7) {
    const source = bytesSource(archive.subarray(0, length))
    await expect(readSwu(source)).rejects.toMatchObject({ code: 'damaged' })
  }
})
