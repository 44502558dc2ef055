import { buildTargets, delegationsIn, rebuildRoot } from '../../pki/tuf/build.ts'
import { canonicalize } from '../../pki/tuf/canonical.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { readRoot } from '../../pki/tuf/read.ts'
import type { RootMetadata } from '../../pki/tuf/types.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { rootIn } from './authority.ts'
import { type CurrentMetadata, fileOf, requireCurrent } from './current.ts'
import {
  type DraftedBy,
  draftModelTargets,
  type NewDraft,
  publishedTargets,
  replaceDraft,
  targetsIn,
} from './drafts.ts'
import { modelOf, type RoleRef, roleNameOf } from './roles.ts'
import { findDraft, lockMetadata, type MetadataFile } from './store.ts'

/**
 * Drafts the next version of a role that says what the published one says, for it must be signed again before it expires
 * (updates.md 2.2). A root may instead bring its own next text, with other keys (3.4). A draft that waits already
 * stays. Throws DomainError `not-ready` without roots, `invalid-request` for a text that is no next root.
 */
export async function draftRenewal(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: { ref: RoleRef; signed?: string | undefined } & Omit<DraftedBy, 'now'>,
): Promise<MetadataFile> {
  const { ref, signed, ...rest } = command
  const by = { ...rest, now: clock.now() }
  const current = await requireCurrent(db)
  return await inTransaction(db, async (tx) => {
    await lockMetadata(tx)
    const waiting = await findDraft(tx, ref)
    if (waiting && signed === undefined) return waiting
    const model = modelOf(ref)
    if (model === undefined) await replaceDraft(tx, ref, nextOf(current, ref, { signed, by }), by)
    else {
      fileOf(current, ref.role)
      const { targets } = await publishedTargets(tx, ref)
      await draftModelTargets(tx, { ref, targets, renew: true }, by)
    }
    const draft = await findDraft(tx, ref)
    if (!draft) throw new Error(`${roleNameOf(ref)} was not drafted`)
    return draft
  })
}

function nextOf(
  current: CurrentMetadata,
  ref: RoleRef,
  { signed, by }: { signed: string | undefined; by: DraftedBy },
): NewDraft {
  if (ref.role === 'root') {
    const file = ref.repository === 'director' ? current.director.root : fileOf(current, 'root')
    if (signed === undefined) return sameRoot(rootIn(file.text), by.now)
    return givenRoot(signed, file.version + 1)
  }
  const delegations = delegationsIn(targetsIn(fileOf(current, 'targets').text))
  const expiresAt = latestExpiry('targets', by.now)
  return { expiresAt, build: (version) => buildTargets({ version, expiresAt, delegations }) }
}

function sameRoot(root: RootMetadata, now: Date): NewDraft {
  const expiresAt = latestExpiry('root', now)
  return { expiresAt, build: (version) => rebuildRoot(root, { version, expiresAt }) }
}

const maxRootBytes = 65_536

/** The number is part of the text, so it is asked for here. */
function givenRoot(text: string, nextVersion: number): NewDraft {
  try {
    const value = parseStrict(Buffer.from(text), maxRootBytes)
    const { version, expires } = readRoot(value)
    if (version !== nextVersion) {
      throw new MetadataError('shape', `The next version is ${nextVersion}`)
    }
    const signed = canonicalize(value)
    if (signed.toString() !== text) throw new MetadataError('syntax', 'It is not canonical')
    return { build: () => signed, expiresAt: new Date(expires) }
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error
    const message = `This is not the text of a root: ${error.message}`
    throw new DomainError('invalid-request', message, {}, { cause: error })
  }
}
