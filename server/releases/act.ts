import { parseStrict } from '../../pki/tuf/json.ts'
import { componentOf } from '../../pki/tuf/publish-check.ts'
import { readTargets } from '../../pki/tuf/read.ts'
import { type Consent, type ConsentFacts, onlyUnasked } from '../approvals/agreed.ts'
import { recordAudits } from '../audit/audit.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { highestPublished } from '../metadata/checks.ts'
import { requireCurrent } from '../metadata/current.ts'
import {
  draftDelegations,
  draftModelTargets,
  lockForDraft,
  publishedTargets,
} from '../metadata/drafts.ts'
import { publishDraft, type PublishDeps } from '../metadata/publish.ts'
import { isSettings, releaseRole } from '../metadata/roles.ts'
import { requireRising } from './create.ts'
import { requireFitting } from './image-fit.ts'
import { requireOnLine } from './lines.ts'
import { listedBuilds } from './listed-builds.ts'
import { requireReachable } from './reachable.ts'
import { requireReadable } from './settings-content.ts'
import { nextReleaseState, type ReleaseAction } from './state.ts'
import {
  findModelHardware,
  getRelease,
  listPublishedFates,
  listSubmitted,
  moveRelease,
  publishListed,
  type Release,
  setDraftedVersion,
} from './store.ts'

export interface ActOnRelease {
  releaseId: string
  action: ReleaseAction
  actor: string
  requestId?: string
  /** Of others, by policy, to publish. */
  consent?: Consent
}

/**
 * The life of a release: `submit` drafts the next version of its model's file for the offline signer, `publish` makes the signed
 * draft public, `withdraw` drafts one without it. Each may be repeated. Throws DomainError `illegal-transition`,
 * `not-ready` (no roots, too few signatures), `conflict` (a publish check, with `problems`).
 */
export async function actOnRelease(ctx: PublishDeps, command: ActOnRelease): Promise<Release> {
  switch (command.action) {
    case 'submit':
    case 'withdraw':
      return await redraftWith(ctx, command)
    case 'publish':
      return await publish(ctx, command)
    default:
      throw new DomainError('invalid-request', 'No such action')
  }
}

async function redraftWith(ctx: PublishDeps, command: ActOnRelease): Promise<Release> {
  const { db, clock } = ctx
  const { releaseId, action, actor, requestId } = command
  if (action === 'submit') await requireInstallable(ctx, releaseId)
  const now = clock.now()
  const by = { actor, ...(requestId ? { requestId } : {}) }
  return await inTransaction(db, async (tx) => {
    await lockForDraft(tx)
    const before = await getRelease(tx, releaseId)
    const state = nextReleaseState(before.state, action)
    if (action === 'submit') await requireStillPossible(tx, before)
    const changes = state !== before.state
    if (changes) {
      await moveRelease(tx, releaseId, before.state, state)
      const facts = { from: before.state, to: state }
      const entry = { at: now, action: `release.${action}`, subject: releaseId, facts, ...by }
      await recordAudits(tx, [entry])
    }
    // A draft that was never submitted is in no file.
    if (before.state !== 'draft' || action === 'submit') {
      if (isSettings(before.component)) await draftDelegations(tx, { ...by, now })
      await redraft(tx, before, { ...by, now })
    }
    return await getRelease(tx, releaseId)
  })
}

/** Devices would refuse it after it was signed, which is too late; what a model's devices run may have been said since it was made. */
async function requireInstallable(ctx: PublishDeps, releaseId: string): Promise<void> {
  await requireReadable(ctx, releaseId)
  const {
    artifact_id: artifactId,
    hardware_ids: hardwareIds,
    ...release
  } = await getRelease(ctx.db, releaseId)
  if (release.state !== 'draft') return
  await requireFitting(ctx, { ...release, artifactId, hardwareIds })
}

async function requireStillPossible(tx: Tx, release: Release): Promise<void> {
  const highest = await highestPublished(tx, release.model)
  requireRising(release, highest.get(release.component))
  await requireOnLine(tx, { ...release, isMixed: release.mixed_reason !== null })
  await requireReachable(tx, release)
  const hardware = await findModelHardware(tx, release.model)
  const unknown = release.hardware_ids.find((id) => !hardware.includes(id))
  if (unknown === undefined) return
  throw new DomainError('conflict', `${unknown} is no hardware of ${release.model} any more`)
}

async function redraft(
  tx: Tx,
  release: Release,
  by: { actor: string; requestId?: string; now: Date },
): Promise<void> {
  const { model } = release
  const ref = releaseRole(release)
  const isOfRole = (one: Pick<Release, 'component'>) =>
    isSettings(one.component) === isSettings(release.component)
  const { targets: published } = await publishedTargets(tx, ref)
  const submitted = (await listSubmitted(tx, model)).filter(isOfRole)
  const fates = await listPublishedFates(tx, model)
  const targets = listedBuilds(published, { submitted, fates })
  const draft = await draftModelTargets(tx, { ref, targets }, by)
  const ids = submitted.map(({ id }) => id)
  await setDraftedVersion(tx, ids, draft?.version ?? null)
}

async function publish(ctx: PublishDeps, command: ActOnRelease): Promise<Release> {
  const { releaseId, actor, requestId, consent = unasked } = command
  const by = { actor, ...(requestId ? { requestId } : {}) }
  await requireCurrent(ctx.db)
  const before = await getRelease(ctx.db, releaseId)
  nextReleaseState(before.state, 'publish')
  if (before.state === 'published') return before
  try {
    await publishDraft(ctx, {
      ref: releaseRole(before),
      ...by,
      also: async (tx, { version, signed, now }) => {
        // The signed file lists all that is published with it: who agreed to this one agreed to those.
        const agreed = await consent(tx, { release: contentOf(before), version, signed })
        await moveListed(tx, before.model, { version, signed, now, agreed, ...by })
      },
    })
  } catch (error) {
    // Another call did it at the same time.
    const release = await getRelease(ctx.db, releaseId)
    if (release.state === 'published') return release
    throw error
  }
  const release = await getRelease(ctx.db, releaseId)
  if (release.state === 'published') return release
  throw new DomainError('conflict', 'The version that was published does not list this release', {
    state: release.state,
  })
}

const unasked = onlyUnasked('publication', 'use POST /releases/ID/actions')

/** What a release is, without how far it got. */
function contentOf(release: Release) {
  const { state: _state, metadata_version: _version, published_at: _at, ...content } = release
  return content
}

/** Everything that the published file lists is published with it, in the same transaction. */
async function moveListed(
  tx: Tx,
  model: string,
  file: {
    version: number
    signed: string
    now: Date
    agreed: ConsentFacts
    actor: string
    requestId?: string
  },
): Promise<void> {
  const { version, signed, now, agreed, ...by } = file
  const { targets } = readTargets(parseStrict(Buffer.from(signed), signed.length))
  const entries = Object.entries(targets)
  const ids = await publishListed(tx, model, {
    components: entries.map(([path]) => componentOf(path)),
    builds: entries.map(([, { custom }]) => custom.match.build),
    version,
    now,
  })
  await recordAudits(
    tx,
    ids.map((id) => ({
      at: now,
      action: 'release.publish',
      subject: id,
      facts: { model, metadataVersion: version, ...agreed },
      ...by,
    })),
  )
}
