import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

/**
 * A device's verifier is to be read in one sitting. Counted is every line of it that is neither blank nor a comment. Beside it
 * stands only what whoever signs needs, too: what one file is (json.ts, canonical.ts, envelope.ts, post-quantum.ts, read.ts and
 * repository.ts) and what a path says (paths.ts).
 */
const verifier = readFileSync('pki/tuf/verify.ts', 'utf8').split('\n')
const isCode = (line: string) => !/^\s*(?:$|\/\/|\/\*|\*)/.test(line)

test('the verifier stays under 300 lines', () => {
  const count = verifier.filter(isCode).length
  expect(count).toBeGreaterThan(100)
  expect(count).toBeLessThan(300)
})

test('what it stands on is what the signer stands on, and nothing else', () => {
  const imported = verifier.join('\n').matchAll(/from '\.\/([^']+)'/g)
  expect([...imported].map(([, file]) => file)).toEqual([
    'canonical.ts',
    'errors.ts',
    'paths.ts',
    'post-quantum.ts',
    'read.ts',
    'repository.ts',
    'shape.ts',
    'time.ts',
    'types.ts',
  ])
})

test('each step of updates.md section 4 is named where it is done, in its order', () => {
  const entry = verifier.slice(verifier.findIndex((line) => line.includes('function verifyBundle')))
  const body = entry.slice(0, entry.indexOf('}'))
  const named = body.flatMap((line) => /\/\/ step(?:s)? (\d)/.exec(line)?.[1] ?? [])
  expect(named).toEqual(['0', '1', '2', '3', '5', '6'])
})
