import { readFileSync } from 'node:fs'

import { sql } from 'kysely'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { deviceStates } from '../../server/devices/state.ts'
import { deploymentStates, openStates } from '../../server/protocol/deployment.ts'
import { releaseStates } from '../../server/releases/state.ts'
import { rolloutStates } from '../../server/rollouts/state.ts'
import { createTestDatabase } from '../support/database.ts'

let handle: DatabaseHandle
beforeAll(async () => {
  handle = await createTestDatabase()
})
afterAll(() => handle[Symbol.asyncDispose]())

const source = [
  'access-tables',
  'approval-tables',
  'schema',
  'identity-tables',
  'operator-tables',
  'audit-tables',
  'updates-tables',
  'outcome-tables',
  'override-tables',
  'ddi-tables',
  'window-tables',
  'webhook-tables',
  'alert-tables',
  'people-tables',
  'sign-in-tables',
  'ticket-tables',
]
  .map((name) => readFileSync(`server/db/${name}.ts`, 'utf8'))
  .join('\n')

test('the types name exactly the tables and columns of the migrations', async () => {
  const { rows } = await sql<{ table: string; column: string; nullable: string }>`
    select table_name as table, column_name as column, case when data_type = 'jsonb' then 'NO' else is_nullable end as nullable from information_schema.columns
    where table_schema = 'public' and table_name <> 'schema_migration'`.execute(handle.db)
  const inDatabase = rows.map(
    ({ table, column, nullable }) => `${table}.${column}${nullable === 'YES' ? '?' : ''}`,
  )
  const typeOf = new Map(
    [...source.matchAll(/^ {2}(\w+): (\w+Table)$/gm)].map(([, table = '', type = '']) => [
      type,
      table,
    ]),
  )
  const inTypes = [...source.matchAll(/export interface (\w+) \{\n(.*?)\n\}/gs)].flatMap(
    ([, type = '', body = '']) => {
      const table = typeOf.get(type)
      if (!table) return []
      return [...body.matchAll(/^ {2}(\w+): (.+)$/gm)].map(
        ([, column = '', columnType = '']) =>
          `${table}.${column}${columnType.endsWith('| null') ? '?' : ''}`,
      )
    },
  )
  expect(inTypes.toSorted()).toEqual(inDatabase.toSorted())
})

test.each([
  ['device', deviceStates],
  ['deployment', deploymentStates],
  ['release', releaseStates],
  ['rollout', rolloutStates],
])('the states of %s are those of its check constraint', async (table, states) => {
  const { rows } = await sql<{ def: string }>`
    select pg_get_constraintdef(oid) as def from pg_constraint
    where conname = ${`${table}_state_check`}`.execute(handle.db)
  const inDatabase = [...(rows[0]?.def.matchAll(/'(\w+)'::text/g) ?? [])].map((match) => match[1])
  expect(new Set(inDatabase)).toEqual(new Set(states))
})

test('the index of open deployments knows the open states', async () => {
  const { rows } = await sql<{ def: string }>`
    select indexdef as def from pg_indexes where indexname = 'deployment_open'`.execute(handle.db)
  const ended = new Set(
    [...(rows[0]?.def.matchAll(/'(\w+)'::text/g) ?? [])].map((match) => match[1]),
  )
  expect(new Set(deploymentStates.filter((state) => !ended.has(state)))).toEqual(
    new Set(openStates),
  )
})
