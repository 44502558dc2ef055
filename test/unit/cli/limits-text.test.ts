import { expect, test } from 'vitest'

import { limitBody, limitFields } from '../../../cli/limits-text.ts'
import { Values } from '../../../cli/values.ts'

test('limits as they are typed and shown', () => {
  const limits = limitBody(new Values({ limit: ['downloading=P3D', 'testing=PT2H'] }))
  expect(limits).toEqual({ limits: { downloading: 'P3D', testing: 'PT2H' } })
  expect(limitBody(new Values({}))).toEqual({})
  expect(limitFields({ limits: { testing: 'PT2H' } })).toEqual([['limits', 'testing PT2H']])
  expect(limitFields({ limits: {} })).toEqual([])
})

test.each(['', 'testing', 'testing=', 'testing=2x', 'succeeded=P1D', '=P1D'])(
  'refuses "%s"',
  (text) => {
    expect(() => limitBody(new Values({ limit: [text] }))).toThrow(
      expect.objectContaining({ code: 'usage' }),
    )
  },
)
