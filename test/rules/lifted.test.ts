import { globSync, readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

/** The switch that leaves a check out belongs to a test: the server only ever asks for it. */
test('no server leaves a check out', () => {
  const mentions = globSync('{server,cli,demo,pki,device-sim,console,scripts,bench}/**/*.ts', {
    exclude: (path) => path.includes('node_modules'),
  }).filter((file) => readFileSync(file, 'utf8').includes('liftedForTest'))
  expect(mentions.toSorted()).toEqual(['server/context.ts', 'server/http/access.ts'])
  // Read there, never set.
  const text = readFileSync('server/http/access.ts', 'utf8')
  expect(text).not.toMatch(/liftedForTest\s*(?:=[^=]|:)/)
})
