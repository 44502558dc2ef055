import { randomUUID } from 'node:crypto'

import pg from 'pg'
import { inject } from 'vitest'

import { connectPostgres, type DatabaseHandle, openEmbedded } from '../../server/db/client.ts'
import { migrateToLatest } from '../../server/db/migrate.ts'
import { urlOf } from './template-database.ts'

/** A private, migrated PostgreSQL database in under a tenth of a second. Dispose it in `afterAll`. */
export async function createTestDatabase(): Promise<DatabaseHandle> {
  const { server, template } = inject('postgres')
  const name = `${template}_${randomUUID().slice(0, 8)}`
  const admin = new pg.Client({ connectionString: server })
  await admin.connect()
  // Two files that clone at the same moment would each count as a user of the template for the other.
  await admin.query('select pg_advisory_lock(1)')
  await admin.query(`create database ${name} template ${template}`)
  await admin.end()
  return connectPostgres(urlOf(server, name))
}

/** The embedded database in memory, migrated: about two seconds, so once a file at most. */
export async function createEmbeddedDatabase(): Promise<DatabaseHandle> {
  const handle = await openEmbedded(undefined)
  await migrateToLatest(handle)
  return handle
}
