import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import type { TufKey } from '../../pki/tuf/keys.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import type { Delegation, RoleKeys, RootMetadata } from '../../pki/tuf/types.ts'
import { DomainError } from '../errors.ts'
import { type CurrentMetadata, fileOf } from './current.ts'
import { targetsIn } from './drafts.ts'
import type { RoleRef } from './roles.ts'

/** Whose signatures a version of a role needs. */
export interface RoleAuthority {
  keys: Record<string, TufKey>
  role: RoleKeys
}

const maxRootBytes = 65_536

export function rootIn(text: string): RootMetadata {
  return readRoot(decodeEnvelope(Buffer.from(text), maxRootBytes).signed)
}

/** The keys that sign the next version of a role, as published now. */
export function authorityOf(
  current: CurrentMetadata,
  { repository, role }: RoleRef,
): RoleAuthority {
  if (repository === 'director' || role === 'root') {
    const file = repository === 'director' ? current.director.root : fileOf(current, 'root')
    const { keys, roles } = rootIn(file.text)
    return { keys, role: roles.root }
  }
  const root = rootIn(fileOf(current, 'root').text)
  if (role === 'targets') return { keys: root.keys, role: root.roles.targets }
  const { keys, delegation } = delegationOf(current, role)
  return { keys, role: delegation }
}

/** Keys whose signature a draft may carry: for a root also those it names itself (updates.md 3.4). */
export function signersOf(
  current: CurrentMetadata,
  draft: RoleRef & { signed: string },
): Map<string, TufKey> {
  const authorities = [authorityOf(current, draft)]
  if (draft.role === 'root') {
    const { keys, roles } = readRoot(parseStrict(Buffer.from(draft.signed), maxRootBytes))
    authorities.push({ keys, role: roles.root })
  }
  return new Map(
    authorities.flatMap(({ keys, role }) =>
      role.keyids.flatMap((keyid) => {
        const key = Object.hasOwn(keys, keyid) ? keys[keyid] : undefined
        return key ? [[keyid, key] as const] : []
      }),
    ),
  )
}

/** What the published targets say about `fw-<model>`. Throws DomainError `not-ready` when they say nothing yet. */
export function delegationOf(
  current: CurrentMetadata,
  role: string,
): { keys: Record<string, TufKey>; delegation: Delegation } {
  const { delegations } = targetsIn(fileOf(current, 'targets').text)
  const delegation = delegations?.roles.find(({ name }) => name === role)
  if (delegations && delegation) return { keys: delegations.keys, delegation }
  throw new DomainError(
    'not-ready',
    `The keys of ${role} are not delegated yet: sign and send the draft of targets first ("fleetseal sign")`,
    { role },
  )
}

export function isEvaluation(current: CurrentMetadata): boolean {
  return rootIn(current.director.root.text)['x-evaluation'] === true
}
