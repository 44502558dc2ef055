import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { lineOf } from '../protocol/version-line.ts'
import { installedVersions, publishedVersions, type Release } from './store.ts'

/** More versions than any model has in the field; beyond them a line may be overlooked, and the answer says which were seen. */
const mostVersions = 1_000

/**
 * A security release is on a maintenance line that devices run, or that has a published release, so that whoever declined new
 * features still gets the fix (updates.md 3.2). One that leaves all of them mixes fixes with features, and says why.
 *
 * @throws DomainError `conflict`, with the lines there are
 */
export async function requireOnLine(
  db: Db,
  release: Pick<Release, 'model' | 'component' | 'version' | 'class'> & { isMixed: boolean },
): Promise<void> {
  const line = lineOf(release.version)
  if (release.class !== 'security' || release.isMixed || line === undefined) return
  const published = linesOf(await publishedVersions(db, release))
  if (published.includes(line)) return
  const installed = linesOf(await installedVersions(db, release, mostVersions))
  const lines = [...new Set([...published, ...installed])]
  // Nothing runs and nothing was published: there is no line to keep to.
  if (lines.length === 0 || lines.includes(line)) return
  throw new DomainError(
    'conflict',
    `${release.version} begins the line ${line}: a fix belongs on ${lines.slice(0, 8).join(', ')}, or says with mixedReason why it cannot be kept apart from features`,
    { at: 'version', line, lines: lines.slice(0, 100) },
  )
}

function linesOf(versions: readonly string[]): string[] {
  return [...new Set(versions.flatMap((version) => lineOf(version) ?? []))]
}
