import { readFileSync, globSync } from 'node:fs'
import { join, normalize } from 'node:path'

import { expect, test } from 'vitest'

test('every page of docs/ is reached from the README, and every link leads to a file', () => {
  const reached = new Set(['README.md'])
  const missing: string[] = []
  for (const page of reached) {
    for (const [, link = ''] of readFileSync(page, 'utf8').matchAll(
      /\]\(([\w./-]+\.md)(#[^)]*)?\)/g,
    )) {
      const target = normalize(join(page, '..', link))
      if (globSync(target).length === 0) missing.push(`${page} -> ${link}`)
      else reached.add(target)
    }
  }
  expect(missing).toEqual([])
  expect(globSync('docs/**/*.md').filter((page) => !reached.has(page))).toEqual([])
})
