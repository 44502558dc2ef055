import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { isRunSince, unreachableHardware, type Release } from './store.ts'

/**
 * A release with a least build before it (`minPrevious`) needs something that leads there: a published release for each of its
 * hardware, or devices that run such a build already, from their factory (rollouts.md §11). Builds rise along the way, so there
 * is no circle. Throws DomainError `conflict` for a gap.
 */
export async function requireReachable(db: Db, release: Release): Promise<void> {
  const { min_previous: least, model, component, build } = release
  if (least === null || least === 0) return
  const hardwareId = await unreachableHardware(db, { ...release, min_previous: least })
  if (hardwareId === undefined || (await isRunSince(db, { ...release, min_previous: least })))
    return
  throw new DomainError(
    'conflict',
    `Nothing leads to build ${build} of ${model}/${component}: there is no published release from build ${least} on for ${hardwareId}, and no device runs one. Publish the step in between first`,
    { at: 'minPrevious', hardwareId },
  )
}
