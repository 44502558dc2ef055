import { canonicalize } from '../../pki/tuf/canonical.ts'
import { toInstant } from '../../pki/tuf/time.ts'
import type { DeliveryEntry, DirectorTarget, ImageTarget, Match } from '../../pki/tuf/types.ts'
import type { OwnSettings } from '../db/update-set.ts'
import type { CurrentMetadata } from '../metadata/current.ts'
import { targetsIn } from '../metadata/drafts.ts'
import { sha256Of } from '../metadata/online-files.ts'
import { configRole, releasePath, releaseRole } from '../metadata/roles.ts'
import { classOfSet } from '../protocol/release-class.ts'
import { leavesLine } from '../protocol/version-line.ts'
import { noForms, type TargetForms } from './forms.ts'
import { policyFor } from './policy.ts'
import type { DirectorContent } from './sign.ts'
import type { DesiredRow } from './store.ts'

export interface Desired {
  content: DirectorContent
  /** Of the content, without versions and expiry: signing again is needed when this changes. */
  contentHash: string
  /** Everything the device may download. */
  sha256s: string[]
  /** The roles of the image repository that vouch for it; none when there is nothing to install. */
  imageRoles: string[]
}

/**
 * What the director says to a device: its deployment's release as target data. Length, hashes and match are copied from
 * the published `fw-<model>`, because the device compares them byte for byte (updates.md section 4 step 7); a release that is
 * not listed there is not offered.
 */
export function desiredOf(
  row: DesiredRow,
  builds: PublishedBuilds,
  forms: TargetForms = noForms,
): Desired {
  const { deviceId, managed, deployment, own } = row
  // Settings take a moment; what has begun is carried to its end first.
  if (own && (!deployment || deployment.isWaiting)) return ownSettings(deviceId, own, builds)
  const set = deployment ? [deployment.release, ...deployment.companions] : []
  const found = set.flatMap(({ component, ...release }) => {
    const build = builds.find({ component, ...release })
    return build ? [{ component, ...build }] : []
  })
  // All or nothing: of a set of which one is withdrawn, none is offered.
  if (!deployment || found.length < set.length) {
    return describe({ deviceId, targets: {} }, [])
  }
  const { release, rolloutPolicy, modelPolicy, runsVersion, override } = deployment
  const policy = policyFor({
    class: classOfSet(set.map((one) => one.class)),
    advisory: release.advisory,
    managed,
    rollout: rolloutPolicy,
    window: row.window ?? [],
    model: modelPolicy,
    notes: release.notes,
    leavesLine:
      release.mixed_reason === null &&
      runsVersion !== null &&
      leavesLine(runsVersion, release.version),
    ...(override && { override: { ...override, until: toInstant(override.until) } }),
  })
  const targets = Object.fromEntries(
    found.map(({ path, component, target }) => {
      const { length, hashes } = target
      const shorter = forms.for(row, { sha256: hashes['sha256'] ?? '', length })
      return [path, directorTarget(deviceId, component, { target, shorter })]
    }),
  )
  const content = {
    deviceId,
    deploymentId: deployment.id,
    policy,
    targets,
    ...(set.length > 1 && { main: release.component }),
  }
  return describe(
    content,
    set.map((one) => releaseRole(one).role),
  )
}

/** A device's own settings, which no offline key signed, and the newest schema that one did sign and the device lacks. */
function ownSettings(deviceId: string, own: OwnSettings, builds: PublishedBuilds): Desired {
  const { id, revision, sha256, size, model, hardwareIds, schemaBuild } = own
  const match: Match = {
    kind: 'config',
    model,
    hardwareIds,
    build: revision,
    svn: 0,
    class: 'config',
  }
  const target: ImageTarget = { length: size, hashes: { sha256 }, custom: { match, v: 1 } }
  const path = `cfg/${model}/${revision}/overrides.json`
  const targets = { [path]: directorTarget(deviceId, 'overrides', { target, shorter: [] }) }
  const schema = builds.newestSchema(model, hardwareIds)
  if (schema && schema.target.custom.match.build > schemaBuild) {
    const given = { target: schema.target, shorter: [] }
    targets[schema.path] = directorTarget(deviceId, 'cfgschema', given)
  }
  const main = Object.keys(targets).length > 1 ? { main: 'overrides' } : {}
  return describe({ deviceId, deploymentId: id, targets, ...main }, [configRole(model).role])
}

function describe(content: DirectorContent, imageRoles: string[]): Desired {
  const sha256s = Object.values(content.targets).flatMap(({ hashes, custom }) => [
    hashes['sha256'] ?? '',
    ...custom.delivery.map(({ sha256 }) => sha256),
  ])
  return {
    content,
    contentHash: sha256Of(canonicalize(content)),
    sha256s: [...new Set(sha256s)],
    imageRoles: [...new Set(imageRoles)],
  }
}

function directorTarget(
  deviceId: string,
  component: string,
  { target, shorter }: { target: ImageTarget; shorter: DeliveryEntry[] },
): DirectorTarget {
  const { length, hashes, custom } = target
  return {
    length,
    hashes,
    custom: {
      component,
      delivery: [...shorter, { m: 'full', length, sha256: hashes['sha256'] ?? '' }],
      deviceId,
      match: custom.match,
      v: 1,
    },
  }
}

type Release = Parameters<typeof releasePath>[0]

/** The builds that the published files list; each file is read once, when it is first asked for. */
export class PublishedBuilds {
  readonly #image: CurrentMetadata['image']
  readonly #byRole = new Map<string, Record<string, ImageTarget>>()

  constructor({ image }: Pick<CurrentMetadata, 'image'>) {
    this.#image = image
  }

  find(release: Release): { path: string; target: ImageTarget } | undefined {
    const { role } = releaseRole(release)
    const path = releasePath(release)
    const listed = this.#byRole.get(role) ?? this.#read(role)
    const target = Object.hasOwn(listed, path) ? listed[path] : undefined
    return target && { path, target }
  }

  /** What bounds the settings of a device of its own, for this hardware. */
  newestSchema(
    model: string,
    hardwareIds: readonly string[],
  ): { path: string; target: ImageTarget } | undefined {
    const { role } = configRole(model)
    const listed = Object.entries(this.#byRole.get(role) ?? this.#read(role))
    const [newest] = listed
      .filter(([, { custom }]) => {
        const { kind, hardwareIds: ids } = custom.match
        return kind === 'cfgschema' && ids.some((one) => hardwareIds.includes(one))
      })
      .toSorted(([, a], [, b]) => b.custom.match.build - a.custom.match.build)
    return newest && { path: newest[0], target: newest[1] }
  }

  #read(role: string): Record<string, ImageTarget> {
    const file = this.#image.get(role)
    const targets = file ? targetsIn(file.text).targets : {}
    this.#byRole.set(role, targets)
    return targets
  }
}
