import { DomainError } from '../errors.ts'

/** One role of one repository. Online roles of the director are a device's, not the fleet's, and are not here. */
export interface RoleRef {
  repository: 'image' | 'director'
  /** `root`, `targets`, `snapshot`, `timestamp`, `fw-<model>`. */
  role: string
}

const modelRole = /^(?:fw|cfg)-([a-z0-9][a-z0-9-]{0,31})$/

/** The role a path names: `director-root` is the director's root, every other name is the image repository's. */
export function offlineRole(name: string): RoleRef {
  if (name === 'director-root') return { repository: 'director', role: 'root' }
  if (name === 'root' || name === 'targets' || modelRole.test(name)) {
    return { repository: 'image', role: name }
  }
  throw new DomainError('not-found', 'No such role with offline keys', { role: name })
}

export function roleNameOf({ repository, role }: RoleRef): string {
  return repository === 'director' ? `director-${role}` : role
}

/** The model of `fw-<model>` and `cfg-<model>`; undefined for other roles. */
export function modelOf({ repository, role }: RoleRef): string | undefined {
  return repository === 'image' ? modelRole.exec(role)?.[1] : undefined
}

export function firmwareRole(model: string): RoleRef {
  return { repository: 'image', role: `fw-${model}` }
}

/** Who vouches for a model's settings, and for what bounds a device's own (updates.md 2.2). */
export function configRole(model: string): RoleRef {
  return { repository: 'image', role: `cfg-${model}` }
}

/** Components whose releases are settings, or a schema of settings, and are signed by `cfg-<model>`. */
const settingsFolders: ReadonlyMap<string, 'cfg' | 'cfgschema'> = new Map([
  ['config', 'cfg'],
  ['cfgschema', 'cfgschema'],
] as const)

export function isSettings(component: string): boolean {
  return settingsFolders.has(component)
}

/** The role that lists a release. */
export function releaseRole({ model, component }: { model: string; component: string }): RoleRef {
  return isSettings(component) ? configRole(model) : firmwareRole(model)
}

/** The one path of a release (updates.md 2.4). */
export function releasePath({
  model,
  version,
  component,
}: {
  model: string
  version: string
  component: string
}): string {
  const folder = settingsFolders.get(component)
  return folder === undefined
    ? `fw/${model}/${version}/${component}.bin`
    : `${folder}/${model}/${version}/${component}.json`
}
