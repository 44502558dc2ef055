import pg from 'pg'

import type { Noun } from '../command.ts'
import { Failure, usageError } from '../failure.ts'

export const databaseNoun: Noun = {
  noun: 'database',
  summary: 'rights in the database, for its owner',
  commands: [
    {
      verb: 'grant',
      args: '',
      summary:
        'Let a role run the server: everything but to change or remove what the audit log holds',
      options: {
        role: { type: 'string', value: 'NAME', about: 'the role of DATABASE_URL (needed)' },
      },
      run: async ({ values, out, world }) => {
        const role = values.needed('role')
        const url = world.env['FLEETSEAL_MIGRATION_DATABASE_URL']
        if (url === undefined || url === '') {
          throw usageError(
            'The owner of the tables has to do this',
            'Set FLEETSEAL_MIGRATION_DATABASE_URL to a URL that logs in as their owner',
          )
        }
        await grant(url, role)
        out.fields({ role }, (one) => [
          ['role', one.role],
          ['may', 'run the server, and only add to the audit log'],
        ])
      },
    },
  ],
}

const timeoutMs = 30_000

async function grant(url: string, role: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: timeoutMs })
  try {
    await client.connect()
    await client.query('select grant_server_role($1)', [role])
  } catch (error) {
    const word = error instanceof Error ? error.message : String(error)
    throw new Failure('failed', `The rights were not given: ${word}`, {
      nextStep:
        'Log in as the owner of the tables, and name a role that is there and is not the owner',
      cause: error,
    })
  } finally {
    await client.end().catch(() => {})
  }
}
