import { globSync, readFileSync } from 'node:fs'
import { dirname } from 'node:path/posix'

import { expect, test } from 'vitest'

const builderWrites = /\b(?:insertInto|updateTable|deleteFrom|mergeInto)\(\s*'(\w+)/g
const plainWrites =
  /\b(?:insert\s+into|update|delete\s+from)\s+([a-z_]+)\s+(?:set|as|using|where|values|select|\()/gi

const tables = new Set(
  globSync('migrations/*.sql').flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/create table (\w+)/g)].map(([, name = '']) => name),
  ),
)

const writers = new Map<string, Set<string>>()
for (const file of globSync('server/**/*.ts')) {
  const text = readFileSync(file, 'utf8')
  for (const [, table = ''] of [...text.matchAll(builderWrites), ...text.matchAll(plainWrites)]) {
    if (tables.has(table)) {
      writers.set(table, (writers.get(table) ?? new Set()).add(dirname(file)))
    }
  }
}

test('writes are found', () => {
  expect(tables.size).toBeGreaterThan(20)
  expect([...(writers.get('api_key') ?? [])]).toEqual(['server/operators'])
  expect([...(writers.get('idempotency') ?? [])]).toEqual(['server/http'])
})

test('every table is written by exactly one folder', () => {
  const shared = [...writers]
    .filter(([, folders]) => folders.size > 1)
    .map(([table, folders]) => `${table}: ${[...folders].join(', ')}`)
  expect(shared).toEqual([])
})

test('nothing writes to a table that does not exist', () => {
  const unknown = globSync('server/**/*.ts').flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(builderWrites)]
      .filter(([, table = '']) => !tables.has(table))
      .map(([, table]) => `${file}: ${table}`),
  )
  expect(unknown).toEqual([])
})
