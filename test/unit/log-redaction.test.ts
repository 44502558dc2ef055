import { Writable } from 'node:stream'

import { expect, test } from 'vitest'

import { createLogger } from '../../server/log.ts'

const link = 'https://s3.example/fleet/ab/cd/abcd?X-Amz-Signature=0123456789abcdef'

test('a link to the store is in no log, wherever it stands in what is logged', () => {
  const lines: string[] = []
  const log = createLogger(
    'info',
    new Writable({ write: (line, _, done) => (lines.push(String(line)), done()) }),
  )
  log.info({ link }, 'one')
  log.info({ answer: { headers: { location: link } } }, 'two')
  log.info({ headers: { location: link, vary: 'Prefer' } }, 'three')
  expect(lines).toHaveLength(3)
  expect(lines.join('')).not.toContain('X-Amz')
  expect(lines[2]).toContain('Prefer')
})
