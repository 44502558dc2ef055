import { DomainError } from '../errors.ts'

/** One role of one repository. Online roles of the director are a device's, not the fleet's, and are not here. */
export interface RoleRef {
  repository: 'image' | 'director'
  /** `root`, `targets`, `snapshot`, `timestamp`, `fw-<model>`. */
  role: string
}

const modelRole = /^fw-([a-z0-9][a-z0-9-]{0,31})$/

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

/** The model of `fw-<model>`; undefined for other roles. */
export function modelOf({ repository, role }: RoleRef): string | undefined {
  return repository === 'image' ? modelRole.exec(role)?.[1] : undefined
}

export function firmwareRole(model: string): RoleRef {
  return { repository: 'image', role: `fw-${model}` }
}

/** The one path of a release's image (updates.md 2.4). */
export function firmwarePath(release: {
  model: string
  version: string
  component: string
}): string {
  return `fw/${release.model}/${release.version}/${release.component}.bin`
}
