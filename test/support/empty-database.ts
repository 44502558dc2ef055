import { randomUUID } from 'node:crypto'

import pg from 'pg'
import { inject } from 'vitest'

import { urlOf } from './template-database.ts'

/** The URL of a new PostgreSQL database without any table; it goes with the template's run. */
export async function createEmptyDatabase(): Promise<string> {
  const { server, template } = inject('postgres')
  const name = `${template}_empty_${randomUUID().slice(0, 8)}`
  const admin = new pg.Client({ connectionString: server })
  await admin.connect()
  await admin.query(`create database ${name}`)
  await admin.end()
  return urlOf(server, name)
}
