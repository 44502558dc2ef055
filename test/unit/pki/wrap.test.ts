import { expect, test } from 'vitest'

import { unwrapKey, wrapKey } from '../../../pki/wrap.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

const kek = Buffer.alloc(32, 7)
const secret = Buffer.from('a private key')

test('K1 a wrapped key opens with its key and context, and does not show the key', () => {
  const wrapped = wrapKey(kek, secret, 'authorities/1')
  expect(wrapped.includes(secret)).toBe(false)
  expect(unwrapKey(kek, wrapped, 'authorities/1')).toEqual(secret)
})

test('two wrappings of one key differ', () => {
  expect(wrapKey(kek, secret, 'x')).not.toEqual(wrapKey(kek, secret, 'x'))
})

test('K2 another key-encryption key, another row and any changed byte are refused', () => {
  const wrapped = wrapKey(kek, secret, 'authorities/1')
  expectRefusal(() => unwrapKey(Buffer.alloc(32, 8), wrapped, 'authorities/1'), 'wrap')
  expectRefusal(() => unwrapKey(kek, wrapped, 'authorities/2'), 'wrap')
  for (let at = 0; at < wrapped.length; at += 1) {
    const changed = Buffer.from(wrapped)
    changed[at] = (changed[at] ?? 0) ^ 1
    expectRefusal(() => unwrapKey(kek, changed, 'authorities/1'), 'wrap')
    expectRefusal(() => unwrapKey(kek, wrapped.subarray(0, at), 'authorities/1'), 'wrap')
  }
})

test('a key-encryption key of another length is refused', () => {
  expectRefusal(() => wrapKey(Buffer.alloc(16), secret, 'x'), 'wrap')
  expectRefusal(() => unwrapKey(Buffer.alloc(0), wrapKey(kek, secret, 'x'), 'x'), 'wrap')
})

test('K3 a key moves to a new key-encryption key', () => {
  const next = Buffer.alloc(32, 9)
  const moved = wrapKey(next, unwrapKey(kek, wrapKey(kek, secret, 'x'), 'x'), 'x')
  expect(unwrapKey(next, moved, 'x')).toEqual(secret)
})
