import { expect, test } from 'vitest'

import { voiceOf } from '../../server/operators/voice.ts'

test('who made a key speaks through it, whoever owns it; what no person made speaks for its owner, or itself', () => {
  const of = (created_by: string, owner_id: string | null) =>
    voiceOf('key:1', { created_by, owner_id })
  expect(of('user:a', null)).toBe('user:a')
  expect(of('user:a', 'b')).toBe('user:a')
  expect(of('key:0', 'b')).toBe('user:b')
  expect(of('system', null)).toBe('key:1')
})
