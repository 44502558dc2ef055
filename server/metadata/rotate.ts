import { rebuildRoot, type RoleSigners } from '../../pki/tuf/build.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import { recordAudits } from '../audit/audit.ts'
import { assertKek } from '../authorities/kek-check.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { rootsIn } from './authority.ts'
import { requireCurrent } from './current.ts'
import { type DraftedBy, replaceDraft } from './drafts.ts'
import { nextKeyOf, onlineRoles } from './online-keys.ts'
import type { RoleRef } from './roles.ts'
import { findDraft, listOnlineKeys, lockMetadata, setNextKeys } from './store.ts'

export interface RotateOnlineKeys extends Omit<DraftedBy, 'now'> {
  repository: 'image' | 'director'
  /** `targets`, `snapshot`, `timestamp`; by default every online role of the repository. */
  roles?: readonly string[] | undefined
  /** Makes other keys in the place of keys that wait already: they may have been stolen too. */
  again?: boolean | undefined
}

/**
 * Begins to replace online keys (updates.md 3.4 and 3.5): makes the next ones and drafts a root that names them. They are used
 * from the moment that root is published, and the old ones are gone then. Repeated, it changes nothing; a root draft that waits
 * keeps what else it changes. Gives the role to sign. Throws DomainError `invalid-request` for a role that is not online here.
 */
export async function rotateOnlineKeys(
  { db, clock, kek }: Pick<Context, 'db' | 'clock' | 'kek'>,
  command: RotateOnlineKeys,
): Promise<RoleRef> {
  const { repository, roles, again = false, ...rest } = command
  const by = { ...rest, now: clock.now() }
  const online = onlineRoles.filter(([owner]) => owner === repository).map(([, role]) => role)
  const wanted = online.filter((role) => roles?.includes(role) ?? true)
  const unknown = roles?.find((role) => !online.some((name) => name === role))
  if (unknown !== undefined || wanted.length === 0) {
    const message = `Online roles of the ${repository} repository are ${online.join(', ')}`
    throw new DomainError('invalid-request', message, { at: 'roles' })
  }
  const published = rootsIn(await requireCurrent(db))[repository]
  const fresh = wanted.map((role) => nextKeyOf(kek, { repository, role }, by.now))
  const ref: RoleRef = { repository, role: 'root' }
  await inTransaction(db, async (tx) => {
    await lockMetadata(tx)
    await assertKek(tx, kek)
    const made = await setNextKeys(tx, fresh, { again })
    await recordAudits(
      tx,
      made.map(({ role, next_keyid: keyid }) => ({
        at: by.now,
        actor: by.actor,
        action: 'online-key.next',
        subject: keyid ?? '',
        facts: { repository, role },
        ...(by.requestId ? { requestId: by.requestId } : {}),
      })),
    )
    const signers = Object.fromEntries(
      (await listOnlineKeys(tx)).flatMap((row): [string, RoleSigners][] => {
        if (row.repository !== repository || row.next_public === null) return []
        const key = { keytype: 'ed25519', scheme: 'ed25519', keyval: { public: row.next_public } }
        return [[row.role, { keys: [key], threshold: 1 }]]
      }),
    )
    const waiting = await findDraft(tx, ref)
    const base = waiting
      ? readRoot(parseStrict(Buffer.from(waiting.signed), waiting.signed.length))
      : published
    const expiresAt = latestExpiry('root', by.now)
    const build = (version: number) => rebuildRoot(base, { version, expiresAt, roles: signers })
    await replaceDraft(tx, ref, { build, expiresAt }, by)
  })
  return ref
}
