import { sql } from 'kysely'

import type { Db } from '../db/client.ts'
import type { DdiProfile } from '../protocol/ddi.ts'

export interface Claimed {
  /** Of the deployment. */
  id: string
  commit_nonce: string | null
  claimed_at: Date
  profile: DdiProfile
  component: string
  version: string
  build: number
  svn: number
  sha256: string
}

/** The deployment whose success the device claimed last, as long as that is neither proven nor disproved. */
export async function findClaimed(db: Db, deviceId: string): Promise<Claimed | undefined> {
  const { rows } = await sql<Claimed>`
    select deployment.id, deployment.commit_nonce, action.claimed_at, product.profile, release.component, release.version,
      release.build, release.svn, artifact.sha256
    from (select * from ddi_action where device_id = ${deviceId} and claimed_at is not null order by id desc limit 1) action
    join deployment on deployment.id = action.deployment_id
    join release on release.id = deployment.release_id
    join artifact on artifact.id = release.artifact_id
    join ddi_product product on product.model = release.model
    where deployment.state in ('installed', 'rebooting', 'testing')`.execute(db)
  return rows[0]
}

/** What is known of a version that a device says it runs; undefined for one that was never released here. */
export async function findRelease(
  db: Db,
  { model, component, version }: { model: string; component: string; version: string },
): Promise<{ build: number; svn: number; sha256: string } | undefined> {
  return await db
    .selectFrom('release')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .select(['release.build', 'release.svn', 'artifact.sha256'])
    .where('release.model', '=', model)
    .where('release.component', '=', component)
    .where('release.version', '=', version)
    .where('release.state', 'in', ['published', 'withdrawn'])
    .orderBy('release.build', 'desc')
    .limit(1)
    .executeTakeFirst()
}
