import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { authorityOf } from './authority.ts'
import { type CurrentMetadata, readCurrent } from './current.ts'
import { findHandover } from './handover.ts'
import { modelOf, type RoleRef, roleNameOf } from './roles.ts'
import { countSignatures, findDraft, type MetadataFile, readDrafts, readRoots } from './store.ts'

export interface RoleOverview {
  role: string
  repository: 'image' | 'director'
  published: { version: number; expiresAt: Date } | undefined
  draft:
    | {
        version: number
        expiresAt: Date
        signedSha256: string
        /** Keys that signed it. Undefined threshold: its keys are not delegated yet. */
        signatures: number
        threshold: number | undefined
      }
    | undefined
}

/** Every role of the fleet with what is published and what waits for signatures. */
export async function listRoles({ db }: Pick<Context, 'db'>): Promise<RoleOverview[]> {
  const current = await readCurrent(db)
  const drafts = await readDrafts(db)
  const signatures = await countSignatures(db)
  const published = current ? [current.director.root, ...current.image.values()] : []
  const refs = new Map<string, RoleRef>(
    [...published, ...drafts].map((file) => [roleNameOf(file), file]),
  )
  return [...refs].map(([role, { repository, role: inner }]) => {
    const same = (file: RoleRef) => file.repository === repository && file.role === inner
    const draft = drafts.find(same)
    const file = published.find(same)
    return {
      role,
      repository,
      published: file && { version: file.version, expiresAt: file.expiresAt },
      draft: draft && {
        version: draft.version,
        expiresAt: draft.expires_at,
        signedSha256: draft.signed_sha256,
        signatures: signatures.find(same)?.signatures ?? 0,
        threshold: current && thresholdOf(current, draft),
      },
    }
  })
}

function thresholdOf(current: CurrentMetadata, ref: RoleRef): number | undefined {
  try {
    return authorityOf(current, ref).role.threshold
  } catch (error) {
    if (error instanceof DomainError && error.code === 'not-ready') return undefined
    throw error
  }
}

export interface DraftFile {
  draft: MetadataFile
  /** Envelope of the version that is published now. */
  previous: string | undefined
  rootChain: string[]
  /** For `fw-<model>`: envelope of the published targets, which delegate to it. */
  targets: string | undefined
}

/** All that the offline signer needs to judge a draft (updates.md 3.1 step 2). Throws DomainError `not-found`. */
export async function readDraftFile(db: Db, ref: RoleRef): Promise<DraftFile> {
  const draft = await findDraft(db, ref)
  if (!draft) {
    throw new DomainError(
      'not-found',
      'There is no draft of this role to sign: submit a release, or make a model, first',
      {
        role: roleNameOf(ref),
      },
    )
  }
  const current = await readCurrent(db)
  const roots = await readRoots(db)
  const { repository, role } = ref
  const previous =
    repository === 'director' ? current?.director.root.text : current?.image.get(role)?.text
  return {
    draft,
    previous,
    rootChain: roots.flatMap((root) =>
      root.repository === repository && root.envelope !== null ? [root.envelope] : [],
    ),
    targets: current && modelOf(ref) !== undefined ? await delegatorOf(db, current) : undefined,
  }
}

/** Targets that wait, signed, for the models' files under the keys they give them; else the published ones. */
async function delegatorOf(db: Db, current: CurrentMetadata): Promise<string | undefined> {
  const handover = await findHandover(db, current)
  return handover?.envelope ?? current.image.get('targets')?.text
}
