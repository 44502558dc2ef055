import { globSync, readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { wrappedColumns } from '../../server/authorities/kek-rotation.ts'

test('a rotation of the key-encryption key reaches every column that it wraps', () => {
  const found = globSync('migrations/*.sql').flatMap((file) => {
    const text = readFileSync(file, 'utf8')
    // Each piece is about one table.
    return text.split(/(?=create table |alter table )/).flatMap((piece) => {
      const [, table = ''] = /^(?:create|alter) table (\w+)/.exec(piece) ?? []
      const columns = [...piece.matchAll(/^\s*(?:add column )?(\w+)\s+bytea/gm)]
      return columns
        .map(([, column = '']) => column)
        .filter((column) => /wrapped|sealed|secret/.test(column) && !column.endsWith('_hash'))
        .map((column) => `${table}.${column}`)
    })
  })
  expect(found.toSorted()).toEqual([...wrappedColumns])
})
