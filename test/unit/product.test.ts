import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { productVersion } from '../../server/product.ts'

test('the product says the version of its package', () => {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  expect((JSON.parse(text) as { version: string }).version).toBe(productVersion)
})
