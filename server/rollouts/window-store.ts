import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import { type WindowFacts, windowFacts } from '../db/window-facts.ts'

/** What says when this device may begin with what this rollout offers; undefined when one of them does not exist. */
export async function windowFactsOf(
  db: Db,
  deviceId: string,
  rolloutId: string,
): Promise<{ seed: Buffer; facts: WindowFacts } | undefined> {
  return await db
    .selectFrom('rollout')
    .innerJoin('device', (join) => join.on(sql<boolean>`device.id = ${deviceId}::uuid`))
    .select(['rollout.seed', windowFacts().as('facts')])
    .where('rollout.id', '=', rolloutId)
    .executeTakeFirst()
}
