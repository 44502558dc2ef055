import { canonicalize } from './canonical.ts'
import { refuse, type Run } from './repository.ts'
import type {
  DeviceFacts,
  DirectorTarget,
  ImageTarget,
  TargetKind,
  VerifiedTarget,
} from './types.ts'

/** Step 7: length, hashes and match are the same in both repositories, byte for byte (updates.md section 4). */
export function requireSame(path: string, director: DirectorTarget, image: ImageTarget): void {
  const facts = ({ length, hashes, custom }: ImageTarget): Buffer =>
    canonicalize({ length, hashes, match: custom.match })
  if (!facts(director).equals(facts(image))) {
    refuse('mix-and-match', `The two repositories disagree about ${path}`)
  }
}

/** Step 8, what one image needs of the device; codes in brackets there. */
export function requireFits({ device, state }: Run, path: string, target: DirectorTarget): void {
  requireDelegatedPath(device, path, target)
  const { component, match } = target.custom
  if (!match.hardwareIds.some((id) => device.hardwareIds.includes(id))) {
    refuse('wrong-hardware', `${path} is not for ${device.hardwareIds.join(', ')}`)
  }
  const installed = device.components[component]
  // The stored counter decides; the running image's own only on a device that never committed an update.
  const svn = Object.hasOwn(state.svn, component) ? state.svn[component] : installed?.svn
  if (match.svn < (svn ?? 0)) {
    refuse('rollback', `${path} has security version ${match.svn}, this device ${svn}`)
  }
  if ((installed?.build ?? 0) < (match.minPrev ?? 0)) {
    refuse('dependency', `${path} needs build ${match.minPrev} installed before it`)
  }
}

const kindOf = new Map<string, TargetKind>([
  ['fw', 'firmware'],
  ['cfg', 'config'],
  ['cfgschema', 'cfgschema'],
])

/**
 * Only the path was delegated, so it has the last word about kind, model and component (updates.md 2.4): a signer of
 * one model's configurations must not be able to pass one as firmware, nor the director a radio image as the main one.
 */
function requireDelegatedPath(device: DeviceFacts, path: string, { custom }: DirectorTarget): void {
  const [prefix = '', model, , file = ''] = path.split('/')
  const { match, component } = custom
  if (model !== device.model || match.model !== model) {
    refuse('wrong-hardware', `${path} is for another model`)
  }
  if (kindOf.get(prefix) !== match.kind) {
    refuse('arbitrary', `${path} is no place for ${match.kind}`)
  }
  if (match.kind === 'firmware' && file.split('.', 1)[0] !== component) {
    refuse('mix-and-match', `${path} is not an image for ${component}`)
  }
}

/** Step 8, what images need of each other: `requires` is met by this bundle or by what stays installed. */
export function requireTogether(device: DeviceFacts, targets: readonly VerifiedTarget[]): void {
  const coming = new Map(targets.map(({ component, match }) => [component, match.build]))
  for (const { path, match } of targets) {
    for (const [component, least] of Object.entries(match.requires ?? {})) {
      const installed = Object.hasOwn(device.components, component)
        ? device.components[component]
        : undefined
      const build = coming.get(component) ?? installed?.build ?? -1
      if (build < least) refuse('partial-bundle', `${path} needs ${component} ${least}`)
    }
  }
}
