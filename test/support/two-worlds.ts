import { afterAll, beforeAll } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { createEmbeddedDatabase, createTestDatabase } from './database.ts'
import { createIdentityWorld, type IdentityWorld } from './identity-world.ts'

/** Both databases the server runs on. */
export const kinds = ['PostgreSQL', 'PGlite'] as const

/** One world on each, for all tests of a file; give the result the name of the one that is wanted. */
export function createWorlds(): (kind: string) => { handle: DatabaseHandle; world: IdentityWorld } {
  const worlds = new Map<string, { handle: DatabaseHandle; world: IdentityWorld }>()
  beforeAll(async () => {
    for (const kind of kinds) {
      const handle = await (kind === 'PGlite' ? createEmbeddedDatabase() : createTestDatabase())
      worlds.set(kind, { handle, world: await createIdentityWorld(handle) })
    }
  })
  afterAll(async () => {
    for (const { handle, world } of worlds.values()) {
      await world[Symbol.asyncDispose]()
      await handle[Symbol.asyncDispose]()
    }
  })
  return (kind) => {
    const found = worlds.get(kind)
    if (!found) throw new Error(`no world on ${kind}`)
    return found
  }
}
