import { expect, test } from 'vitest'

import { HashQueue } from '../../../server/sign-in/hash-queue.ts'
import { hashPassword, isOutdated, isPassword } from '../../../server/sign-in/password-hash.ts'
import { assertGoodPassword } from '../../../server/sign-in/password-rules.ts'
import { hashRecoveryCode, newRecoveryCodes } from '../../../server/sign-in/recovery-codes.ts'

const about = { name: 'Ada Lovelace', email: 'ada.lovelace@example.com' }

test.each([
  'tidal marmot envelope',
  'Zürich 🏔 um sieben Uhr',
  'x7#mQ2!vR9$k',
  'the engine weaves patterns',
  'ada likes algebra a lot',
])('%s is a good password', (password) => {
  expect(() => assertGoodPassword(password, about)).not.toThrow()
})

test.each([
  'tooshort123',
  'password1234',
  'Passwort-Passwort',
  'aaaaaaaaaaaaaaa',
  'abcdefghijklmnop',
  '9876543210987654',
  'qwertyuiopas',
  'abc123abc123',
  '1qaz2wsx3edc',
  'letmein-letmein!',
  'ada.lovelace@example.com',
  'AdaLovelace2026',
  'fleetseal2026',
  '🏔'.repeat(12),
  'x'.repeat(257),
])('%s is none', (password) => {
  expect(() => assertGoodPassword(password, about)).toThrow(/password|name/i)
})

test('a hash fits its password alone, however that was composed, and says how it was made', async () => {
  const hash = await hashPassword('Café au lait, s’il te plaît')
  expect(hash).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$[\w+/]{22}\$[\w+/]{43}$/)
  expect(await isPassword('Café au lait, s’il te plaît'.normalize('NFD'), hash)).toBe(true)
  expect(await isPassword('café au lait, s’il te plaît', hash)).toBe(false)
  expect(await isPassword('Café au lait, s’il te plaît', undefined)).toBe(false)
  expect(await hashPassword('Café au lait, s’il te plaît')).not.toBe(hash)
  expect(isOutdated(hash)).toBe(false)
  expect(isOutdated(hash.replace('t=2', 't=1'))).toBe(true)
})

test('so many are reckoned at once, so many wait, and the rest is told so', async () => {
  const queue = new HashQueue({ atOnce: 2, waiting: 3 })
  const doors = Array.from({ length: 6 }, () => Promise.withResolvers<void>())
  let running = 0
  let most = 0
  const done = doors.map(async (door) => {
    return await queue
      .run(async () => {
        running += 1
        most = Math.max(most, running)
        await door.promise
        running -= 1
        return 'done'
      })
      .catch((error: unknown) => (error instanceof Error ? error.message : 'no error'))
  })
  for (const door of doors) door.resolve()
  const answers = await Promise.all(done)
  expect(answers.slice(0, 5)).toEqual(['done', 'done', 'done', 'done', 'done'])
  expect(answers[5]).toContain('try again')
  expect(most).toBe(2)
  expect(await queue.run(async () => await Promise.resolve('free again'))).toBe('free again')
})

test('a recovery code is one person’s, and read again however it is typed', () => {
  const [code = ''] = newRecoveryCodes()
  expect(new Set(newRecoveryCodes()).size).toBe(10)
  expect(code).toMatch(/^[2-9A-HJKMNP-TV-Z]{8}-[2-9A-HJKMNP-TV-Z]{8}$/)
  expect(hashRecoveryCode('a', ` ${code.toLowerCase().replace('-', ' ')} `)).toEqual(
    hashRecoveryCode('a', code),
  )
  expect(hashRecoveryCode('b', code)).not.toEqual(hashRecoveryCode('a', code))
})
