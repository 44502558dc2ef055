import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { keyId } from '../../pki/tuf/keys.ts'
import { recordAudits } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { authoritiesOf, rootIn, rootsIn } from './authority.ts'
import { checkDraft } from './checks.ts'
import {
  type CurrentMetadata,
  forgetCurrent,
  type PublishedFile,
  requireCurrent,
} from './current.ts'
import { companionsOf, type SignedDraft } from './handover.ts'
import { nextOnlineVersion, publishedRow, signSnapshot, signTimestamp } from './online-files.ts'
import { heldKeys, keysNamedBy, type OnlineKeys, onlineKeysOf } from './online-keys.ts'
import { envelopeOf, missingIn } from './progress.ts'
import { refuseRoleKeysHere } from './role-keys-here.ts'
import { type RoleRef, roleNameOf } from './roles.ts'
import { verifySamples } from './sample.ts'
import {
  activateNextKeys,
  findDraft,
  insertFiles,
  listSignatures,
  lockMetadata,
  markPublished,
  type MetadataFile,
  readNewest,
} from './store.ts'

export type PublishDeps = Pick<Context, 'db' | 'clock' | 'kek' | 'config' | 'storage' | 'log'>

export interface PublishDraft {
  ref: RoleRef
  actor: string
  requestId?: string
  /** In the same transaction. */
  also?: (tx: Tx, published: { version: number; signed: string; now: Date }) => Promise<void>
}

const maxAttempts = 5

/** Somebody else published in between: everything is checked and signed again, on what they made. */
class LostRace extends Error {}

/**
 * Publishes the signed draft of a role (updates.md 3.1 step 5, 3.2): all checks, the device's verifier, a new snapshot and
 * timestamp signed before the transaction opens, then one transaction that holds only if nothing else was
 * published since. Throws DomainError `not-ready` without roots, a draft or enough signatures, `conflict` with
 * `problems` when a check refuses.
 */
export async function publishDraft(
  ctx: PublishDeps,
  command: PublishDraft,
): Promise<{ version: number }> {
  for (let attempt = 1; ; attempt++) {
    try {
      const plan = await prepare(ctx, command.ref)
      await commit(ctx, command, plan)
      const { version } = plan.draft
      ctx.log.info({ role: roleNameOf(command.ref), version }, 'metadata published')
      return { version }
    } catch (error) {
      if (!(error instanceof LostRace)) throw error
      if (attempt < maxAttempts) continue
      throw new DomainError('conflict', 'Others published at the same time; try again')
    } finally {
      forgetCurrent(ctx.db)
    }
  }
}

interface Plan {
  draft: MetadataFile
  envelope: string
  /** Models' files that go out with `targets`, because of the keys it gives them. */
  companions: SignedDraft[]
  /** Signed for this publication; none for a root that keeps its online keys, which no other file lists. */
  online: PublishedFile[]
  /** Key ids of online keys that waited for this root. */
  activated: string[]
  /** What all of it was built on. */
  base: CurrentMetadata
  now: Date
}

async function prepare(ctx: PublishDeps, ref: RoleRef): Promise<Plan> {
  const now = ctx.clock.now()
  const base = await requireCurrent(ctx.db)
  await refuseRoleKeysHere(ctx.config, base)
  const draft = await findDraft(ctx.db, ref)
  if (!draft) {
    throw new DomainError('not-ready', `There is no draft of ${roleNameOf(ref)} to publish`)
  }
  const envelope = await signedEnvelope(ctx, { draft, base })
  const companions = roleNameOf(ref) === 'targets' ? await companionsOf(ctx.db, base, envelope) : []
  const covered = companions.map((one) => one.draft.role)
  await checkDraft(ctx, { draft, envelope, base, now, covered })
  const handedOver = {
    ...base,
    image: new Map(base.image).set('targets', fileOf(draft, envelope, now)),
  }
  for (const one of companions) await checkDraft(ctx, { ...one, base: handedOver, now })
  const held = await heldKeys(ctx)
  const roots = rootsIn(base)
  const next = ref.role === 'root' ? { ...roots, [ref.repository]: rootIn(envelope) } : roots
  const before = keysNamedBy(roots, held)
  const after = keysNamedBy(next, held)
  // Another process published other keys since the base was read.
  if (!before || !after) throw new LostRace()
  const activated = ref.role === 'root' ? newKeyIds(before[ref.repository], after) : []
  const set = candidate({
    draft,
    envelope,
    companions,
    base,
    keys: after,
    isRekeyed: activated.length > 0,
    now,
  })
  const keys = { before: before.director, after: after.director }
  verifySamples(keys, { before: base, after: set.after, changed: ref }, now)
  return { draft, envelope, companions, online: set.online, activated, base, now }
}

function fileOf(draft: MetadataFile, text: string, now: Date): PublishedFile {
  const { repository, role, version, expires_at: expiresAt } = draft
  return { repository, role, version, text, expiresAt, publishedAt: now }
}

/** Of the keys after, those that were not in use before. */
function newKeyIds(before: OnlineKeys['image' | 'director'], after: OnlineKeys): string[] {
  const known = new Set(Object.values(before).map(({ tufKey }) => keyId(tufKey)))
  const keys = 'targets' in before ? after.director : after.image
  return Object.values(keys)
    .map(({ tufKey }) => keyId(tufKey))
    .filter((id) => !known.has(id))
}

/** The file as it will be served, with every signature that was sent. Throws `not-ready` below the threshold. */
async function signedEnvelope(
  { db }: PublishDeps,
  { draft, base }: { draft: MetadataFile; base: CurrentMetadata },
): Promise<string> {
  const text = envelopeOf(draft, await listSignatures(db, draft))
  const [missing] = missingIn(authoritiesOf(base, draft), text)
  if (!missing) return text
  const { signatures, threshold } = missing
  throw new DomainError(
    'not-ready',
    `${signatures} of ${threshold} signatures (${missing.scheme}, ${missing.keys} keys): sign the draft of ${roleNameOf(draft)} with "fleetseal sign"`,
    { role: roleNameOf(draft), version: draft.version, threshold },
  )
}

/** The set as it would be after the publication. */
function candidate(plan: {
  draft: MetadataFile
  envelope: string
  companions: readonly SignedDraft[]
  base: CurrentMetadata
  keys: OnlineKeys
  /** A root that names other online keys. */
  isRekeyed: boolean
  now: Date
}): { after: CurrentMetadata; online: PublishedFile[] } {
  const { draft, envelope, companions, base, keys, isRekeyed, now } = plan
  const { repository, role } = draft
  const file = fileOf(draft, envelope, now)
  if (repository === 'director') {
    const roots = { ...base.roots, director: [...base.roots.director, envelope] }
    return { after: { ...base, director: { root: file }, roots }, online: [] }
  }
  const image = new Map(base.image).set(role, file)
  for (const one of companions) image.set(one.draft.role, fileOf(one.draft, one.envelope, now))
  const roots = { ...base.roots, image: [...base.roots.image, envelope] }
  if (role === 'root' && !isRekeyed) return { after: { ...base, image, roots }, online: [] }
  const next = (name: string) => nextOnlineVersion(base.image.get(name)?.version, now)
  const snapshot = signSnapshot(keys.image, image.values(), { version: next('snapshot'), now })
  const timestamp = signTimestamp(keys.image, snapshot, { version: next('timestamp'), now })
  image.set('snapshot', snapshot).set('timestamp', timestamp)
  const after = role === 'root' ? { ...base, image, roots } : { ...base, image }
  return { after, online: [snapshot, timestamp] }
}

async function commit(
  { db }: PublishDeps,
  { actor, requestId, also }: PublishDraft,
  { draft, envelope, companions, online, activated, base, now }: Plan,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    await lockMetadata(tx)
    await requireUnchanged(tx, base)
    const published = [{ draft, envelope }, ...companions]
    for (const one of published) {
      if (!(await markPublished(tx, one.draft, { envelope: one.envelope, now }))) {
        throw new LostRace()
      }
    }
    if (online.length > 0) await insertFiles(tx, online.map(publishedRow))
    const switched = await activateNextKeys(tx, draft.repository, activated)
    if (switched.length !== activated.length) throw new LostRace()
    await also?.(tx, { version: draft.version, signed: draft.signed, now })
    await recordAudits(
      tx,
      published.map((one) => ({
        at: now,
        actor,
        action: 'metadata.publish',
        subject: roleNameOf(one.draft),
        facts: {
          ...publishedFacts(one),
          online: Object.fromEntries(online.map(({ role, version }) => [role, version])),
          ...(switched.length > 0 && {
            onlineKeys: Object.fromEntries(switched.map(({ role, keyid }) => [role, keyid])),
          }),
        },
        ...(requestId ? { requestId } : {}),
      })),
    )
  })
}

function publishedFacts({ draft, envelope }: SignedDraft) {
  const { signatures } = decodeEnvelope(Buffer.from(envelope), envelope.length)
  return {
    version: draft.version,
    signedSha256: draft.signed_sha256,
    keyids: signatures.map(({ keyid }) => keyid),
  }
}

async function requireUnchanged(tx: Tx, base: CurrentMetadata): Promise<void> {
  const newest = await readNewest(tx)
  const same = newest.every(({ repository, role, version }) => {
    const known = repository === 'director' ? base.director.root : base.image.get(role)
    return known?.version === version
  })
  if (!same) throw new LostRace()
}

/**
 * Signs the timestamp again, and the snapshot when asked (updates.md 2.2: 24 h and 7 d). Gives false when somebody else
 * did at the same time.
 */
export async function signAgain(
  ctx: Pick<Context, 'db' | 'clock' | 'kek'>,
  base: CurrentMetadata,
  { snapshot: withSnapshot }: { snapshot: boolean },
): Promise<boolean> {
  const now = ctx.clock.now()
  const keys = await onlineKeysOf(ctx, rootsIn(base))
  if (!keys) {
    forgetCurrent(ctx.db)
    return false
  }
  const next = (name: string) => nextOnlineVersion(base.image.get(name)?.version, now)
  const held = base.image.get('snapshot')
  const snapshot =
    held && !withSnapshot
      ? held
      : signSnapshot(keys.image, base.image.values(), { version: next('snapshot'), now })
  const timestamp = signTimestamp(keys.image, snapshot, { version: next('timestamp'), now })
  const files = snapshot === held ? [timestamp] : [snapshot, timestamp]
  try {
    await inTransaction(ctx.db, async (tx) => {
      await lockMetadata(tx)
      await requireUnchanged(tx, base)
      await insertFiles(tx, files.map(publishedRow))
    })
    return true
  } catch (error) {
    if (error instanceof LostRace) return false
    throw error
  } finally {
    forgetCurrent(ctx.db)
  }
}
