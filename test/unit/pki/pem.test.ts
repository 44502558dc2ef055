import { createPublicKey } from 'node:crypto'

import { expect, test } from 'vitest'

import { generatePrivateKey, spkiOf } from '../../../pki/keys.ts'
import { fromPem, toPem } from '../../../pki/pem.ts'
import { expectRefusal } from '../../support/pki-fixture.ts'

test.each([1, 45, 46, 47, 48, 49, 93, 94, 95, 96, 97])(
  'P13 %i bytes have no empty line and come back',
  (length) => {
    const der = Buffer.alloc(length, 0x5a)
    const pem = toPem('THING', der)
    expect(pem).not.toMatch(/\n\n/)
    expect(pem.split('\n').every((line) => line.length <= 64)).toBe(true)
    expect(fromPem(pem, 'THING')).toEqual([der])
  },
)

test('P13 Node reads our PEM', () => {
  const spki = spkiOf(generatePrivateKey('P-256'))
  const key = createPublicKey(toPem('PUBLIC KEY', spki))
  expect(key.export({ type: 'spki', format: 'der' })).toEqual(spki)
})

test('blocks of the label come in order, other text and labels are skipped', () => {
  const text = `hello\n${toPem('A', Buffer.from('one'))}${toPem('B', Buffer.from('x'))}\r\n${toPem('A', Buffer.from('two'))}`
  expect(fromPem(text, 'A').map(String)).toEqual(['one', 'two'])
  expect(fromPem(text.replaceAll('\n', '\r\n'), 'A').map(String)).toEqual(['one', 'two'])
})

test.each([
  ['no block', 'nothing here'],
  ['no end', '-----BEGIN A-----\nAAAA\n'],
  ['empty body', '-----BEGIN A-----\n-----END A-----\n'],
  ['foreign characters', '-----BEGIN A-----\nAA*A\n-----END A-----\n'],
  [
    'headers of old encryption',
    '-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END A-----\n',
  ],
  ['missing padding', '-----BEGIN A-----\nAAA\n-----END A-----\n'],
  ['too many blocks', toPem('A', Buffer.from('x')).repeat(65)],
  ['too long', ' '.repeat(1_048_577)],
])('PEM is refused: %s', (_, text) => {
  expectRefusal(() => fromPem(text, 'A'), 'pem')
})
