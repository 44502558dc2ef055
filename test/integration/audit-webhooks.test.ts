import { expect, test } from 'vitest'

import { tellWebhooks } from '../../server/audit/webhook-stream.ts'
import { startApi } from '../support/api.ts'
import { givenRows } from '../support/audit.ts'
import { createTestDatabase } from '../support/database.ts'

test('webhooks that ask for it are told of each row once, in the order of the chain', async () => {
  await using handle = await createTestDatabase()
  await using api = await startApi(handle)
  const told = async () =>
    await handle.db
      .selectFrom('outbox_event')
      .select(['subject', 'data'])
      .where('type', '=', 'audit.recorded')
      .orderBy('id')
      .execute()
  // Begins here: what was before is no news.
  await givenRows(handle, 2)
  await tellWebhooks(handle)
  const made = await api.call('POST', '/webhooks', {
    url: 'https://example.com/audit',
    types: ['audit.recorded'],
  })
  expect(made.status).toBe(201)
  await givenRows(handle, 3, { from: 3 })
  await Promise.all([tellWebhooks(handle), tellWebhooks(handle)])
  await tellWebhooks(handle)
  const events = (await told()).filter(({ subject }) => subject.startsWith('subject-'))
  expect(events.map(({ subject }) => subject).toSorted()).toEqual([
    'subject-3',
    'subject-4',
    'subject-5',
  ])
  const first = events.find(({ subject }) => subject === 'subject-3')
  expect(first?.data).toMatchObject({ actor: 'key:1', action: 'test.do', facts: { n: 3 } })
})
