import { decodeEnvelope, encodeEnvelope, meetsThreshold } from '../../pki/tuf/envelope.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { authorityOf } from './authority.ts'
import { checkDraft } from './checks.ts'
import {
  type CurrentMetadata,
  forgetCurrent,
  type PublishedFile,
  requireCurrent,
} from './current.ts'
import { nextOnlineVersion, publishedRow, signSnapshot, signTimestamp } from './online-files.ts'
import { onlineKeys, type OnlineKeys } from './online-keys.ts'
import { refuseRoleKeysHere } from './role-keys-here.ts'
import { type RoleRef, roleNameOf } from './roles.ts'
import { verifySamples } from './sample.ts'
import {
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
    const plan = await prepare(ctx, command.ref)
    try {
      await commit(ctx, command, plan)
    } catch (error) {
      if (!(error instanceof LostRace)) throw error
      if (attempt < maxAttempts) continue
      throw new DomainError('conflict', 'Others published at the same time; try again')
    } finally {
      forgetCurrent(ctx.db)
    }
    const { version } = plan.draft
    ctx.log.info({ role: roleNameOf(command.ref), version }, 'metadata published')
    return { version }
  }
}

interface Plan {
  draft: MetadataFile
  envelope: string
  /** Signed for this publication; none for a root, which no other file lists. */
  online: PublishedFile[]
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
  await checkDraft(ctx, { draft, envelope, base, now })
  const keys = await onlineKeys(ctx)
  const { after, online } = candidate({ draft, envelope, base, keys, now })
  verifySamples(keys.director, { before: base, after, changed: ref }, now)
  return { draft, envelope, online, base, now }
}

/** The file as it will be served, with every signature that was sent. Throws `not-ready` below the threshold. */
async function signedEnvelope(
  { db }: PublishDeps,
  { draft, base }: { draft: MetadataFile; base: CurrentMetadata },
): Promise<string> {
  const rows = (await listSignatures(db, draft)).filter(
    (row) => row.signed_sha256 === draft.signed_sha256,
  )
  const { keys, role } = authorityOf(base, draft)
  const text = encodeEnvelope(
    Buffer.from(draft.signed),
    rows.map(({ keyid, sig }) => ({ keyid, sig })),
  ).toString()
  if (meetsThreshold(decodeEnvelope(Buffer.from(text), text.length), keys, role)) return text
  throw new DomainError(
    'not-ready',
    `${rows.length} of ${role.threshold} signatures: sign the draft of ${roleNameOf(draft)} with "fleetseal sign"`,
    { role: roleNameOf(draft), version: draft.version, threshold: role.threshold },
  )
}

/** The set as it would be after the publication. */
function candidate(plan: {
  draft: MetadataFile
  envelope: string
  base: CurrentMetadata
  keys: OnlineKeys
  now: Date
}): { after: CurrentMetadata; online: PublishedFile[] } {
  const { draft, envelope, base, keys, now } = plan
  const { repository, role, version, expires_at: expiresAt } = draft
  const file = { repository, role, version, text: envelope, expiresAt, publishedAt: now }
  if (repository === 'director') {
    const roots = { ...base.roots, director: [...base.roots.director, envelope] }
    return { after: { ...base, director: { root: file }, roots }, online: [] }
  }
  const image = new Map(base.image).set(role, file)
  if (role === 'root') {
    const roots = { ...base.roots, image: [...base.roots.image, envelope] }
    return { after: { ...base, image, roots }, online: [] }
  }
  const next = (name: string) => nextOnlineVersion(base.image.get(name)?.version, now)
  const snapshot = signSnapshot(keys.image, image.values(), { version: next('snapshot'), now })
  const timestamp = signTimestamp(keys.image, snapshot, { version: next('timestamp'), now })
  image.set('snapshot', snapshot).set('timestamp', timestamp)
  return { after: { ...base, image }, online: [snapshot, timestamp] }
}

async function commit(
  { db }: PublishDeps,
  { ref, actor, requestId, also }: PublishDraft,
  { draft, envelope, online, base, now }: Plan,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    await lockMetadata(tx)
    await requireUnchanged(tx, base)
    if (!(await markPublished(tx, draft, { envelope, now }))) throw new LostRace()
    if (online.length > 0) await insertFiles(tx, online.map(publishedRow))
    await also?.(tx, { version: draft.version, signed: draft.signed, now })
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'metadata.publish',
      subject: roleNameOf(ref),
      facts: {
        version: draft.version,
        signedSha256: draft.signed_sha256,
        keyids: decodeEnvelope(Buffer.from(envelope), envelope.length).signatures.map(
          ({ keyid }) => keyid,
        ),
        online: Object.fromEntries(online.map(({ role, version }) => [role, version])),
      },
      ...(requestId ? { requestId } : {}),
    })
  })
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
  const keys = await onlineKeys(ctx)
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
