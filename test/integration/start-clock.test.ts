import { afterAll, beforeAll, expect, test } from 'vitest'

import { InstallationError } from '../../server/authorities/installation-error.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { createLogger } from '../../server/log.ts'
import { startClock } from '../../server/start-clock.ts'
import { createEmbeddedDatabase, createTestDatabase } from '../support/database.ts'

let postgres: DatabaseHandle
let embedded: DatabaseHandle
beforeAll(async () => {
  postgres = await createTestDatabase()
  embedded = await createEmbeddedDatabase()
})
afterAll(async () => {
  await postgres[Symbol.asyncDispose]()
  await embedded[Symbol.asyncDispose]()
})

const log = createLogger('silent')
const hours = 3_600_000

test.each([
  [3, 'ahead of'],
  [-3, 'behind'],
])(
  'a machine whose clock is %d hours off does not start beside PostgreSQL, and is told',
  async (by, side) => {
    const start = startClock(postgres, log, () => Date.now() + by * hours)
    await expect(start).rejects.toThrow(InstallationError)
    await expect(startClock(postgres, log, () => Date.now() + by * hours)).rejects.toThrow(
      new RegExp(`10[0-9]{3} s ${side} that of the database.*NTP`),
    )
  },
)

test('clocks that agree, and the embedded database, which has no other, start', async () => {
  for (const handle of [postgres, embedded]) {
    const clock = await startClock(handle, log)
    expect(Math.abs(clock.now().getTime() - Date.now())).toBeLessThan(30_000)
    expect(clock.isHeld()).toBe(false)
  }
  await startClock(embedded, log, () => Date.now() + 3 * hours)
})
