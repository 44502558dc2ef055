import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import {
  delegationSigners,
  isPqRequired,
  rootSigners,
  type Signers,
  targetsSigners,
} from '../../pki/tuf/post-quantum.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import type { Delegation, RootMetadata, TargetsMetadata } from '../../pki/tuf/types.ts'
import { DomainError } from '../errors.ts'
import { type CurrentMetadata, fileOf } from './current.ts'
import { targetsIn } from './drafts.ts'
import type { Roots } from './online-keys.ts'
import type { RoleRef } from './roles.ts'

const maxRootBytes = 65_536

export function rootIn(text: string): RootMetadata {
  return readRoot(decodeEnvelope(Buffer.from(text), maxRootBytes).signed)
}

const parsed = new WeakMap<CurrentMetadata, Roots>()

/** The two roots that are published now; read once for each set. */
export function rootsIn(current: CurrentMetadata): Roots {
  const known = parsed.get(current)
  if (known) return known
  const roots = {
    image: rootIn(fileOf(current, 'root').text),
    director: rootIn(current.director.root.text),
  }
  parsed.set(current, roots)
  return roots
}

/** The keys that sign the next version of a role, as published now. */
export function authorityOf(current: CurrentMetadata, { repository, role }: RoleRef): Signers {
  const roots = rootsIn(current)
  if (repository === 'director' || role === 'root') return rootSigners(roots[repository])
  const root = roots.image
  if (role === 'targets') return targetsSigners(root)
  const { targets, delegation } = delegationOf(current, role)
  return delegationSigners(targets, delegation, isPqRequired(root))
}

/** All whose thresholds a draft must meet: for a root also those it names itself (updates.md 3.4). */
export function authoritiesOf(
  current: CurrentMetadata,
  draft: RoleRef & { signed: string },
): Signers[] {
  const published = authorityOf(current, draft)
  if (draft.role !== 'root') return [published]
  const next = readRoot(parseStrict(Buffer.from(draft.signed), maxRootBytes))
  return [published, rootSigners(next)]
}

/** Keys whose signatures a draft may carry, by key id. */
export function keysOf(authorities: readonly Signers[], half: 'classical' | 'pq') {
  const roles = authorities.flatMap((signers) => (half === 'pq' ? (signers.pq ?? []) : signers))
  return new Map(
    roles.flatMap(({ keys, role }) =>
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
): { targets: TargetsMetadata; delegation: Delegation } {
  const targets = targetsIn(fileOf(current, 'targets').text)
  const delegation = targets.delegations?.roles.find(({ name }) => name === role)
  if (delegation) return { targets, delegation }
  throw new DomainError(
    'not-ready',
    `The keys of ${role} are not delegated yet: sign and send the draft of targets first ("fleetseal sign")`,
    { role },
  )
}

export function isEvaluation(current: CurrentMetadata): boolean {
  return rootsIn(current).director['x-evaluation'] === true
}
