import { readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { permissionsDocument, permissionsFile } from '../../scripts/permissions-document.ts'

/** As oxfmt leaves it: cells of tables are as wide as the widest. */
const plain = (text: string) =>
  text
    .replaceAll(/ *\| */g, '|')
    .replaceAll(/-{3,}/g, '---')
    .replaceAll(/[*_]/g, '')

test('docs/permissions.md is made from the routes of today', () => {
  expect(
    plain(readFileSync(permissionsFile, 'utf8')),
    'run: node scripts/permissions-document.ts && oxfmt docs/permissions.md',
  ).toBe(plain(permissionsDocument()))
})
