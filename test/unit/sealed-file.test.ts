import fc from 'fast-check'
import { expect, test } from 'vitest'

import {
  chunkBytes,
  newRecipient,
  Opener,
  readKeyText,
  SealedFileError,
  Sealer,
  tagBytes,
} from '../../pki/sealed/sealed-file.ts'

const passphrase = { passphrase: 'sixteen letters or more' }

function seal(chunks: readonly Buffer[], key: ConstructorParameters<typeof Sealer>[0]): Buffer[] {
  const sealer = new Sealer(key)
  return [sealer.head, ...chunks.map((text, no) => sealer.seal(text, no === chunks.length - 1))]
}

function open(
  [head = Buffer.alloc(0), ...chunks]: readonly Buffer[],
  key: ConstructorParameters<typeof Opener>[1],
) {
  const opener = new Opener(head, key)
  return chunks.map((sealed, no) => opener.open(sealed, no === chunks.length - 1))
}

const texts = [Buffer.alloc(chunkBytes, 1), Buffer.alloc(chunkBytes, 2), Buffer.from('end')]

test('what was sealed with a passphrase or for a recipient is opened by that passphrase or its secret', () => {
  const { recipient, secret } = newRecipient()
  expect(open(seal(texts, passphrase), passphrase)).toEqual(texts)
  expect(open(seal(texts, { recipient }), { secret })).toEqual(texts)
})

test('no other key opens it', () => {
  const { recipient } = newRecipient()
  const other = newRecipient()
  for (const [sealed, key] of [
    [seal(texts, passphrase), { passphrase: 'sixteen letters or less' }],
    [seal(texts, passphrase), { secret: other.secret }],
    [seal(texts, { recipient }), { secret: other.secret }],
    [seal(texts, { recipient }), passphrase],
  ] as const) {
    expect(() => open(sealed, key)).toThrow(SealedFileError)
  }
})

test('chunks that are missing, doubled, moved, or of another file are found, and so is an end that is none', () => {
  const [head = Buffer.alloc(0), a = head, b = head, c = head] = seal(texts, passphrase)
  const [, foreign = head] = seal(texts, passphrase)
  expect(open([head, a, b, c], passphrase)).toEqual(texts)
  for (const chunks of [[a, b], [b, c], [a, c], [b, a, c], [a, a, b, c], [foreign, b, c], []]) {
    if (chunks.length === 0) continue
    expect(() => open([head, ...chunks], passphrase)).toThrow(SealedFileError)
  }
})

test('any byte that is changed is found', () => {
  const { recipient, secret } = newRecipient()
  const whole = seal([Buffer.from('some text')], { recipient })
  const all = Buffer.concat(whole)
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: all.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      (at, by) => {
        const changed = Buffer.from(all)
        changed[at] = (changed[at] ?? 0) ^ by
        const headBytes = whole[0]?.length ?? 0
        expect(() =>
          open([changed.subarray(0, headBytes), changed.subarray(headBytes)], { secret }),
        ).toThrow(SealedFileError)
      },
    ),
    { numRuns: 300 },
  )
})

test('the text of a key file', () => {
  const { recipient, secret } = newRecipient()
  expect(readKeyText(`${recipient}\n`)).toEqual({ recipient })
  expect(readKeyText(`  ${secret}\n`)).toEqual({ secret })
  expect(readKeyText('correct horse battery\n')).toEqual({ passphrase: 'correct horse battery' })
  expect(() => readKeyText('short\n')).toThrow('16')
  expect(tagBytes).toBe(16)
})
