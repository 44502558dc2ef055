import { componentOf } from '../../pki/tuf/publish-check.ts'
import type { ImageTarget, Match } from '../../pki/tuf/types.ts'
import { isSettings, releasePath } from '../metadata/roles.ts'
import type { ReleaseFate, ReleaseWithBytes } from './store.ts'
import type { Advisory } from './wire.ts'

/** How many builds of a component stay without another reason: the current and the one before (updates.md 2.4). */
const keptBuilds = 2

/**
 * What the next `fw-<model>` lists (updates.md 2.4): what is submitted, the current and the previous build of each component,
 * every step that one of these demands, and what a rollout still gives out; nothing that was withdrawn.
 * What was published keeps its entry byte for byte.
 */
export function listedBuilds(
  published: Readonly<Record<string, ImageTarget>>,
  { submitted, fates }: { submitted: readonly ReleaseWithBytes[]; fates: readonly ReleaseFate[] },
): Record<string, ImageTarget> {
  const fateOf = (path: string, { build }: Match) =>
    fates.find((fate) => fate.component === componentOf(path) && fate.build === build)
  const held = Object.entries(published)
    .filter(([path, { custom }]) => fateOf(path, custom.match)?.state !== 'withdrawn')
    .map(([path, target]) => ({
      path,
      target,
      wanted: fateOf(path, target.custom.match)?.rolling === true,
    }))
  const added = submitted.map((release) => ({
    path: releasePath(release),
    target: targetOf(release),
    wanted: true,
  }))
  const byComponent = Map.groupBy([...held, ...added], ({ path }) => componentOf(path))
  const kept = [...byComponent.values()].flatMap(keepOfComponent)
  return Object.fromEntries(kept.map(({ path, target }) => [path, target]))
}

interface Build {
  path: string
  target: ImageTarget
  /** Kept whatever its age. */
  wanted: boolean
}

function keepOfComponent(builds: Build[]): Build[] {
  const newestFirst = builds.toSorted((a, b) => buildOf(b) - buildOf(a))
  const kept = new Set(newestFirst.filter(({ wanted }, index) => wanted || index < keptBuilds))
  // A set gives what is added while it is walked, so a step's own step is found too.
  for (const build of kept) {
    const least = build.target.custom.match.minPrev ?? 0
    const step = newestFirst.find(
      (other) => buildOf(other) < buildOf(build) && buildOf(other) >= least,
    )
    if (least > 0 && step) kept.add(step)
  }
  return newestFirst.filter((build) => kept.has(build))
}

function buildOf({ target }: Build): number {
  return target.custom.match.build
}

export function targetOf(release: ReleaseWithBytes): ImageTarget {
  // Written by service.ts from the wire schema.
  const requires = release.requires as Record<string, number>
  const match: Match = {
    ...(isSettings(release.component)
      ? { kind: release.component === 'config' ? ('config' as const) : ('cfgschema' as const) }
      : { kind: 'firmware' as const, format: 'raw' as const }),
    model: release.model,
    hardwareIds: release.hardware_ids,
    version: release.version,
    build: release.build,
    svn: release.svn,
    class: release.class,
    ...(release.min_previous === null ? {} : { minPrev: release.min_previous }),
    ...(Object.keys(requires).length === 0 ? {} : { requires }),
    ...(release.fixes.length === 0 ? {} : { fixes: release.fixes }),
  }
  return { length: release.size, hashes: { sha256: release.sha256 }, custom: { match, v: 1 } }
}

/** Written by service.ts from the wire schema. */
export function advisoryOf({ advisory }: { advisory: unknown }): Advisory | undefined {
  return advisory === null ? undefined : (advisory as Advisory)
}
