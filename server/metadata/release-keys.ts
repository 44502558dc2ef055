import { keyId, publicKeyOf, type TufKey } from '../../pki/tuf/keys.ts'
import { pqPublicKeyOf } from '../../pki/tuf/post-quantum.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { requireCurrent } from './current.ts'
import { draftDelegations, type DraftedBy } from './drafts.ts'
import { heldKeys, type HeldKeys } from './online-keys.ts'
import { listReleaseKeys, lockMetadata, type ReleaseKey, replaceReleaseKeys } from './store.ts'

/** A key that may sign releases; of a hybrid one each half is an entry. */
export interface NamedKey {
  name: string
  key: TufKey
}

const leastReleaseKeys = 2

export async function readReleaseKeys(db: Db): Promise<NamedKey[]> {
  return (await listReleaseKeys(db)).map(({ name, scheme, public: text }) => ({
    name,
    key: { keytype: keytypeOf(scheme), scheme, keyval: { public: text } },
  }))
}

export function keytypeOf(scheme: string): string {
  return scheme === 'ed25519' ? 'ed25519' : 'ml-dsa'
}

/**
 * Names all keys that may sign releases from now on, and drafts the image `targets` that delegates every model to them
 * (updates.md 3.4 and 3.5). Devices and the server go by the published one until that is signed. The same list again changes
 * nothing. Throws DomainError `invalid-request` for keys that cannot be used.
 */
export async function changeReleaseKeys(
  ctx: Pick<Context, 'db' | 'clock' | 'kek'>,
  { keys, ...rest }: { keys: readonly NamedKey[] } & Omit<DraftedBy, 'now'>,
): Promise<void> {
  const by = { ...rest, now: ctx.clock.now() }
  await requireCurrent(ctx.db)
  const held = await heldKeys(ctx)
  const problem = keysProblem(keys, held)
  if (problem !== undefined) throw new DomainError('invalid-request', problem, { at: 'keys' })
  const rows = keys.map(({ name, key }) => releaseKeyRow(name, key, by.now))
  await inTransaction(ctx.db, async (tx) => {
    await lockMetadata(tx)
    const before = await listReleaseKeys(tx)
    if (!saysTheSame(before, rows)) {
      await replaceReleaseKeys(tx, rows)
      const idsOf = (list: readonly ReleaseKey[]) => list.map(({ keyid }) => keyid)
      const added = idsOf(rows).filter((id) => !idsOf(before).includes(id))
      const retired = idsOf(before).filter((id) => !idsOf(rows).includes(id))
      await recordAudit(tx, {
        at: by.now,
        actor: by.actor,
        action: 'release-keys.change',
        subject: 'targets',
        facts: { added, retired },
        ...(by.requestId ? { requestId: by.requestId } : {}),
      })
    }
    await draftDelegations(tx, by)
  })
}

export function releaseKeyRow(name: string, key: TufKey, now: Date): ReleaseKey {
  const { scheme, keyval } = key
  return { keyid: keyId(key), name, public: keyval.public, scheme, created_at: now }
}

function saysTheSame(before: readonly ReleaseKey[], after: readonly ReleaseKey[]): boolean {
  const list = (rows: readonly ReleaseKey[]) =>
    rows
      .map(({ keyid, name }) => `${name} ${keyid}`)
      .toSorted()
      .join()
  return list(before) === list(after)
}

/** Why these keys may not sign releases; undefined when they may. */
export function keysProblem(
  keys: readonly NamedKey[],
  { byRole }: Pick<HeldKeys, 'byRole'>,
): string | undefined {
  const classical = keys.filter(({ key }) => key.keytype === 'ed25519')
  const pq = keys.filter(({ key }) => key.keytype !== 'ed25519')
  if (!areUsable(classical, publicKeyOf)) {
    return `At least ${leastReleaseKeys} different Ed25519 release keys are needed`
  }
  if (pq.length > 0 && !areUsable(pq, pqPublicKeyOf)) {
    return `At least ${leastReleaseKeys} different ML-DSA release keys are needed`
  }
  const ours = new Set([...byRole.values()].flatMap((held) => [...held.keys()]))
  return classical.some(({ key }) => ours.has(keyId(key)))
    ? 'A key of the server may not sign releases'
    : undefined
}

function areUsable(keys: readonly NamedKey[], open: (key: TufKey) => unknown): boolean {
  const ids = new Set(keys.map(({ key }) => keyId(key)))
  return (
    keys.every(({ key }) => open(key)) && ids.size === keys.length && ids.size >= leastReleaseKeys
  )
}
