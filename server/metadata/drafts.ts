import {
  buildModelTargets,
  buildTargets,
  delegationsIn,
  configDelegation,
  firmwareDelegation,
  type RoleSigners,
} from '../../pki/tuf/build.ts'
import { canonicalize } from '../../pki/tuf/canonical.ts'
import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { readTargets } from '../../pki/tuf/read.ts'
import type { ImageTarget, TargetsMetadata } from '../../pki/tuf/types.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Db, Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { sha256Of } from './online-files.ts'
import { configRole, firmwareRole, modelOf, type RoleRef, roleNameOf } from './roles.ts'
import {
  deleteDraft,
  discardDraft,
  findDraft,
  findNewest,
  insertFiles,
  listReleaseKeys,
  listSignatures,
  lockMetadata,
  type MetadataFile,
  nextVersion,
  type ReleaseKey,
} from './store.ts'

/** Who asks for a draft, and when. */
export interface DraftedBy {
  actor: string
  requestId?: string
  now: Date
}

/** All metadata texts are far below; the cap of a bundle is the same (updates.md section 4). */
const maxFileBytes = 65_536
/** A device reads the list of models and the builds of its own, so neither may fill a bundle. */
const maxListBytes = 24_576
const releaseThreshold = 2

/** A draft to be; `build` is asked again when the number has to change. */
export interface NewDraft {
  /** The canonical text under that number. */
  build: (version: number) => Buffer
  expiresAt: Date
}

/**
 * Makes a text the draft of the next version of a role, and gives its number. Another draft is set aside with its signatures,
 * and its number with it, since somebody may have signed it offline. One that says the same but for its dates stays
 * as it is, so that a repeated call does not undo what people signed.
 */
export async function replaceDraft(
  tx: Tx,
  { repository, role }: RoleRef,
  { build, expiresAt }: NewDraft,
  { actor, requestId, now }: DraftedBy,
): Promise<{ version: number }> {
  const before = await findDraft(tx, { repository, role })
  if (before && saysTheSame(before, { signed: build(before.version), expiresAt }, now)) {
    return before
  }
  if (before) await setAside(tx, before)
  const version = await nextVersion(tx, { repository, role })
  const signed = build(version).toString()
  const signedSha256 = sha256Of(signed)
  await insertFiles(tx, [
    {
      repository,
      role,
      version,
      state: 'draft',
      signed,
      signed_sha256: signedSha256,
      envelope: null,
      expires_at: expiresAt,
      created_at: now,
      published_at: null,
    },
  ])
  await recordAudit(tx, {
    at: now,
    actor,
    action: 'metadata.draft',
    subject: roleNameOf({ repository, role }),
    facts: { version, signedSha256, replaces: before?.signed_sha256 ?? null },
    ...(requestId ? { requestId } : {}),
  })
  return { version }
}

/**
 * The offline signer never signs two texts under one number, so the next draft takes another. Only the versions of a root, and
 * the first of any role, may not be skipped (TUF 5.3.5, pki/tuf/publish-check.ts): such a draft goes while nobody is known
 * to have signed it, and stays otherwise. Throws DomainError `conflict` then.
 */
async function setAside(tx: Tx, draft: MetadataFile): Promise<void> {
  if (draft.role !== 'root' && (await findNewest(tx, draft))) return await discardDraft(tx, draft)
  if ((await listSignatures(tx, draft)).length === 0) return await deleteDraft(tx, draft)
  const role = roleNameOf(draft)
  throw new DomainError(
    'conflict',
    `Version ${draft.version} of ${role} is signed in part, and its number cannot be given to another text: sign and publish it first`,
    { role, version: draft.version },
  )
}

/** Also: there is still time to collect signatures before it would expire. */
function saysTheSame(
  before: MetadataFile,
  draft: { signed: Buffer; expiresAt: Date },
  now: Date,
): boolean {
  const remaining = before.expires_at.getTime() - now.getTime()
  return (
    remaining > (draft.expiresAt.getTime() - now.getTime()) / 2 &&
    undated(before.signed).equals(undated(draft.signed))
  )
}

function undated(signed: string | Buffer): Buffer {
  return canonicalize({
    ...Object(parseStrict(Buffer.from(signed), maxFileBytes)),
    expires: undefined,
  })
}

/** For slices that decide what a draft says: before they read what it is made from. */
export async function lockForDraft(tx: Tx): Promise<void> {
  await lockMetadata(tx)
}

/** What a published targets file, top-level or a model's, says. */
export function targetsIn(text: string): TargetsMetadata {
  return readTargets(decodeEnvelope(Buffer.from(text), maxFileBytes).signed)
}

/**
 * Drafts the next image `targets` when it would say something else: every model has its `fw-<model>`, terminating and delegated to
 * the release keys, two of them (updates.md 2.2). Does nothing while no roots are imported; the import calls it again.
 */
export async function draftDelegations(tx: Tx, by: DraftedBy): Promise<void> {
  const targetsRole: RoleRef = { repository: 'image', role: 'targets' }
  if (!(await findNewest(tx, targetsRole))) return
  await lockMetadata(tx)
  const current = await findNewest(tx, targetsRole)
  if (!current?.envelope) return
  const published = targetsIn(current.envelope)
  const before = delegationsIn(published)
  const known = new Set(before.map(({ name }) => name))
  const models = await tx.selectFrom('model').select('name').orderBy('name').execute()
  const missing = models.filter(({ name }) => !known.has(firmwareRole(name).role))
  // Only models that have settings to give out have a role for them.
  const configured = await tx
    .selectFrom('release')
    .select('model')
    .distinct()
    .where('component', 'in', ['config', 'cfgschema'])
    .where('state', 'in', ['submitted', 'published'])
    .orderBy('model')
    .execute()
  const signers = releaseSigners(await listReleaseKeys(tx))
  const delegations = [
    ...before.map(({ name, ...role }) => {
      const model = modelOf({ repository: 'image', role: name })
      if (model === undefined) return { name, ...role }
      const isFirmware = name === firmwareRole(model).role
      return isFirmware ? firmwareDelegation(model, signers) : configDelegation(model, signers)
    }),
    ...missing.map(({ name }) => firmwareDelegation(name, signers)),
    ...configured
      .filter(({ model }) => !known.has(configRole(model).role))
      .map(({ model }) => configDelegation(model, signers)),
  ]
  const expiresAt = latestExpiry('targets', by.now)
  const build = (version: number) =>
    bounded(() => buildTargets({ version, expiresAt, delegations }))
  const same = readTargets(parseStrict(build(published.version), maxFileBytes))
  if (canonicalize({ ...same, expires: published.expires }).equals(canonicalize(published))) return
  await replaceDraft(tx, targetsRole, { build, expiresAt }, by)
}

/** Two of the keys that may sign releases and, when there are ML-DSA keys among them, two of those. */
function releaseSigners(rows: readonly ReleaseKey[]): RoleSigners {
  const keys = rows.map(({ scheme, public: key }) => ({
    keytype: scheme === 'ed25519' ? 'ed25519' : 'ml-dsa',
    scheme,
    keyval: { public: key },
  }))
  const classical = keys.filter(({ scheme }) => scheme === 'ed25519')
  const pq = keys.filter(({ scheme }) => scheme !== 'ed25519')
  return {
    keys: classical,
    threshold: releaseThreshold,
    ...(pq.length > 0 && { pq: { keys: pq, threshold: releaseThreshold } }),
  }
}

/** The builds that a model's published file (`fw-<model>`, `cfg-<model>`) lists, by path; empty before its first. */
export async function publishedTargets(
  db: Db,
  ref: RoleRef,
): Promise<{ version: number; targets: Record<string, ImageTarget> }> {
  const current = await findNewest(db, ref)
  if (!current?.envelope) return { version: 0, targets: {} }
  return { version: current.version, targets: targetsIn(current.envelope).targets }
}

/**
 * Drafts the next `fw-<model>` or `cfg-<model>` with exactly these builds; no draft remains when they are what is published already and the
 * published file is not asked to be renewed. The caller holds the lock (`lockMetadata`).
 */
export async function draftModelTargets(
  tx: Tx,
  {
    ref,
    targets,
    renew = false,
  }: {
    ref: RoleRef
    targets: Record<string, ImageTarget>
    renew?: boolean
  },
  by: DraftedBy,
): Promise<{ version: number } | undefined> {
  const current = await publishedTargets(tx, ref)
  const model = modelOf(ref) ?? ''
  if (!renew && canonicalize(current.targets).equals(canonicalize(targets))) {
    const stale = await findDraft(tx, ref)
    if (stale) await setAside(tx, stale)
    return undefined
  }
  const expiresAt = latestExpiry('model', by.now)
  const build = (version: number) =>
    bounded(() => buildModelTargets({ model, targets, version, expiresAt }))
  return await replaceDraft(tx, ref, { build, expiresAt }, by)
}

/** Throws DomainError `quota-exhausted` for a file that would be too large, `invalid-request` for one that cannot be built. */
function bounded(build: () => Buffer): Buffer {
  try {
    const signed = build()
    if (signed.length <= maxListBytes) return signed
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error
    if (error.fault !== 'too-large') {
      const message = `This cannot be written as metadata: ${error.message}`
      throw new DomainError('invalid-request', message, {}, { cause: error })
    }
  }
  throw new DomainError('quota-exhausted', 'The metadata file would become too large for devices')
}
