import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import {
  delegationSigners,
  isPqRequired,
  meetsSigners,
  type Signers,
  targetsSigners,
} from '../../pki/tuf/post-quantum.ts'
import {
  checkModelDraft,
  checkRoot,
  checkTargetsDraft,
  componentOf,
  type Highest,
  type PublishProblem,
} from '../../pki/tuf/publish-check.ts'
import type { ImageTarget, RootMetadata } from '../../pki/tuf/types.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { delegationOf, rootIn, rootsIn } from './authority.ts'
import { type CurrentMetadata, fileOf, type PublishedFile } from './current.ts'
import { publishedTargets, targetsIn } from './drafts.ts'
import { type HeldKeys, heldKeys, onlineRoles } from './online-keys.ts'
import { modelOf, type RoleRef, roleNameOf } from './roles.ts'
import type { MetadataFile } from './store.ts'

type Deps = Pick<Context, 'db' | 'kek' | 'storage'>

interface Draft {
  draft: MetadataFile
  /** With the signatures. */
  envelope: string
  base: CurrentMetadata
  now: Date
  /** Roles whose next files are published together with this one. */
  covered?: readonly string[]
}

/** Every check of updates.md 3.2 but the device's verifier. Throws DomainError `conflict` with all `problems`. */
export async function checkDraft(ctx: Deps, input: Draft): Promise<void> {
  const problems = await problemsOf(ctx, input)
  if (problems.length === 0) return
  throw new DomainError(
    'conflict',
    `This version of ${roleNameOf(input.draft)} may not be published: ${problems[0]?.detail}`,
    { problems },
  )
}

async function problemsOf(ctx: Deps, input: Draft): Promise<PublishProblem[]> {
  const { draft, envelope, base, now } = input
  const { repository, role } = draft
  const signed = Buffer.from(draft.signed)
  if (role === 'root') {
    const before = repository === 'director' ? base.director.root : fileOf(base, 'root')
    const [next, previous] = [envelope, before.text].map((text) =>
      decodeEnvelope(Buffer.from(text), maxRootBytes),
    )
    if (!next || !previous) throw new Error('There are two')
    const problems = checkRoot({ envelope: next, previous, now })
    const listed = base.image.get('targets')
    const signers = targetsSigners(rootIn(envelope))
    if (repository === 'image' && listed) problems.push(...orphanProblems(listed, signers))
    return problems.length > 0
      ? problems
      : onlineKeyProblems(repository, rootIn(envelope), await heldKeys(ctx))
  }
  const previous = base.image.get(role)
  const before = previous && decodeEnvelope(Buffer.from(previous.text), maxRootBytes).signedBytes
  const pqRequired = isPqRequired(rootsIn(base).image)
  const common = { signed, now, pqRequired, ...(before ? { previous: before } : {}) }
  const model = modelOf(draft)
  if (model === undefined) {
    const next = targetsIn(envelope)
    const orphans = (next.delegations?.roles ?? []).flatMap((delegation) => {
      const file = base.image.get(delegation.name)
      if (!file || input.covered?.includes(delegation.name)) return []
      return orphanProblems(file, delegationSigners(next, delegation, pqRequired))
    })
    return [...checkTargetsDraft(common), ...orphans]
  }
  return [
    ...checkModelDraft({
      ...common,
      model,
      delegation: delegationOf(base, role).delegation,
      hardwareIds: await hardwareOf(ctx.db, model),
      highest: await highestPublished(ctx.db, model),
    }),
    ...(await artifactProblems(ctx, { draft, envelope })),
  ]
}

const maxRootBytes = 65_536

/** A published file that its next keys did not sign would be refused by every device (updates.md 3.4). */
function orphanProblems(
  { role, version, text }: PublishedFile,
  signers: Signers,
): PublishProblem[] {
  if (meetsSigners(decodeEnvelope(Buffer.from(text), maxRootBytes), signers)) return []
  const detail = `${role} ${version} is not signed by enough of the keys it will have: renew it, signed by keys it will have ("fleetseal sign draft ${role} --renew", "fleetseal sign ${role}")`
  return [{ fault: 'signatures', detail }]
}

/**
 * The online roles of a root must be signed by the keys this server has, in use or waiting, and by nothing else; the offline
 * ones by none of them, and never by one person alone.
 */
export function onlineKeyProblems(
  repository: 'image' | 'director',
  root: RootMetadata,
  { byRole }: Pick<HeldKeys, 'byRole'>,
): PublishProblem[] {
  const problems: PublishProblem[] = []
  for (const [owner, role] of onlineRoles) {
    if (owner !== repository) continue
    const { keyids, threshold } = root.roles[role]
    const ours = byRole.get(`${repository}/${role}`)
    if (keyids.length === 1 && ours?.has(keyids[0] ?? '') && threshold === 1) continue
    problems.push({ fault: 'keys', detail: `The ${repository} ${role} is not this server's key` })
  }
  const online = new Set([...byRole.values()].flatMap((keys) => [...keys.keys()]))
  const pqRoles = root['x-pq-roles']
  for (const role of offlineRoles[repository]) {
    const { keyids, threshold } = root.roles[role]
    if (keyids.some((keyid) => online.has(keyid))) {
      problems.push({ fault: 'keys', detail: `${role} may not be signed by a key of the server` })
    }
    if (Math.min(threshold, pqRoles?.[role]?.threshold ?? threshold) < 2) {
      problems.push({ fault: 'keys', detail: `${role} needs a threshold of at least 2` })
    }
    if (isPqRequired(root) && !pqRoles?.[role]) {
      const detail = `${role} has no post-quantum keys, which this root requires`
      problems.push({ fault: 'keys', detail })
    }
  }
  return problems
}

const offlineRoles = { image: ['root', 'targets'], director: ['root'] } as const

async function hardwareOf(db: Db, model: string): Promise<string[]> {
  const row = await db
    .selectFrom('model')
    .select('hardware_ids')
    .where('name', '=', model)
    .executeTakeFirst()
  return row?.hardware_ids ?? []
}

/** The highest build and security version ever published, by component, also of releases that were withdrawn. */
export async function highestPublished(db: Db, model: string): Promise<Map<string, Highest>> {
  const rows = await db
    .selectFrom('release')
    .where('model', '=', model)
    .where('published_at', 'is not', null)
    .groupBy('component')
    .select(({ fn }) => [
      'component',
      fn.max<number>('build').as('build'),
      fn.max<number>('svn').as('svn'),
    ])
    .execute()
  return new Map(rows.map(({ component, build, svn }) => [component, { build, svn }]))
}

/** New builds: a release says the same, and the bytes are here. */
async function artifactProblems(
  { db, storage }: Deps,
  { draft, envelope }: { draft: RoleRef; envelope: string },
): Promise<PublishProblem[]> {
  const before = await publishedTargets(db, draft)
  const added = Object.entries(targetsIn(envelope).targets).filter(
    ([path]) => !Object.hasOwn(before.targets, path),
  )
  const problems: PublishProblem[] = []
  for (const [path, target] of added) {
    if (!(await isReleased(db, path, target))) {
      problems.push({
        fault: 'path',
        detail: `${path} is not a submitted release with these bytes`,
      })
    }
    await using stored = await storage.open(target.hashes['sha256'] ?? '')
    if (stored?.size !== target.length) {
      problems.push({ fault: 'path', detail: `The bytes of ${path} are not in the storage` })
    }
  }
  return problems
}

async function isReleased(
  db: Db,
  path: string,
  { length, hashes, custom: { match } }: ImageTarget,
): Promise<boolean> {
  const row = await db
    .selectFrom('release')
    .innerJoin('artifact', 'artifact.id', 'release.artifact_id')
    .select(['artifact.sha256', 'artifact.size'])
    .where('release.model', '=', match.model)
    .where('release.component', '=', componentOf(path))
    .where('release.build', '=', match.build)
    .where('release.state', '=', 'submitted')
    .executeTakeFirst()
  return row !== undefined && row.sha256 === hashes['sha256'] && row.size === length
}
