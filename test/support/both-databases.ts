import { afterAll, beforeAll, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from './api.ts'
import { createEmbeddedDatabase, createTestDatabase } from './database.ts'

export interface DatabaseWorld {
  kind: 'PostgreSQL' | 'PGlite'
  handle: DatabaseHandle
  api: TestApi
}

type BothTest = (name: string, work: (world: DatabaseWorld) => Promise<void>) => void

/** For a file whose every test runs on PostgreSQL and on the embedded database. Gives what to write instead of `test`. */
export function onBothDatabases(): BothTest {
  const worlds = new Map<DatabaseWorld['kind'], DatabaseWorld>()
  beforeAll(async () => {
    for (const [kind, create] of [
      ['PostgreSQL', createTestDatabase],
      ['PGlite', createEmbeddedDatabase],
    ] as const) {
      const handle = await create()
      worlds.set(kind, { kind, handle, api: await startApi(handle) })
    }
  })
  afterAll(async () => {
    for (const { api, handle } of worlds.values()) {
      await api[Symbol.asyncDispose]()
      await handle[Symbol.asyncDispose]()
    }
  })
  return (name, work) => {
    for (const kind of ['PostgreSQL', 'PGlite'] as const) {
      test(`${kind}: ${name}`, async () => {
        const world = worlds.get(kind)
        if (!world) throw new Error(`no ${kind}`)
        await work(world)
      })
    }
  }
}
