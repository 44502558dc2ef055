import { decodeEnvelope, encodeEnvelope } from '../../pki/tuf/envelope.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import { keyId, type TufKey } from '../../pki/tuf/keys.ts'
import { isPqRequired, meetsSigners, targetsSigners } from '../../pki/tuf/post-quantum.ts'
import { checkRoot, checkTargetsDraft, type PublishProblem } from '../../pki/tuf/publish-check.ts'
import type { Envelope } from '../../pki/tuf/types.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { rootIn } from './authority.ts'
import { onlineKeyProblems } from './checks.ts'
import { forgetCurrent, type PublishedFile, readCurrent } from './current.ts'
import { draftDelegations, targetsIn } from './drafts.ts'
import { nextOnlineVersion, publishedRow, signSnapshot, signTimestamp } from './online-files.ts'
import { type HeldKeys, heldKeys } from './online-keys.ts'
import { keysProblem, type NamedKey, releaseKeyRow } from './release-keys.ts'
import { findVersion, insertFiles, insertReleaseKeys, lockMetadata } from './store.ts'

/** What `fleetseal sign init` writes as `public.json`: exact texts of files, and the keys that may sign releases. */
export interface ImportRoots {
  image: { root: string; targets: string }
  director: { root: string }
  releaseKeys: TufKey[]
  /** Their ML-DSA halves, in the same order. */
  releasePqKeys?: TufKey[] | undefined
  actor: string
  requestId?: string
}

export interface RootsImported {
  evaluation: boolean
  /** False when the same files were imported before. */
  isNew: boolean
}

const maxFileBytes = 65_536
const releaseKeyNames = ['release', 'qa', 'spare']

type Deps = Pick<Context, 'db' | 'clock' | 'kek' | 'log'>

/**
 * Begins both repositories with the files of a key ceremony (updates.md 3.3), after checking them as a device would, and that
 * their online roles are this server's keys. The same files again change nothing; others are refused: devices
 * in the field trust the first ones. Throws DomainError `invalid-request` with `problems`, or `conflict`.
 */
export async function importRoots(ctx: Deps, command: ImportRoots): Promise<RootsImported> {
  const now = ctx.clock.now()
  const held = await heldKeys(ctx)
  const keys = held.active
  const evaluation = requireTrustworthy(command, held, now)
  const files: PublishedFile[] = [
    firstFile('image', 'root', command.image.root, now),
    firstFile('image', 'targets', command.image.targets, now),
    firstFile('director', 'root', command.director.root, now),
  ]
  const version = nextOnlineVersion(undefined, now)
  const snapshot = signSnapshot(keys.image, files.slice(0, 2), { version, now })
  const timestamp = signTimestamp(keys.image, snapshot, { version, now })
  const isNew = await inTransaction(ctx.db, async (tx) => {
    await lockMetadata(tx)
    if (await areImported(tx, files)) return false
    await insertFiles(tx, [...files, snapshot, timestamp].map(publishedRow))
    const releaseKeys = namedKeys(command)
    await insertReleaseKeys(
      tx,
      releaseKeys.map(({ name, key }) => releaseKeyRow(name, key, now)),
    )
    const { actor, requestId } = command
    const by = { actor, ...(requestId ? { requestId } : {}) }
    await recordAudit(tx, {
      at: now,
      action: 'metadata.import-roots',
      subject: 'root',
      facts: { evaluation, releaseKeys: releaseKeys.map(({ key }) => keyId(key)) },
      ...by,
    })
    await draftDelegations(tx, { now, ...by })
    return true
  })
  forgetCurrent(ctx.db)
  if (isNew) logEvaluation(ctx, evaluation)
  return { evaluation, isNew }
}

function requireTrustworthy(command: ImportRoots, keys: HeldKeys, now: Date): boolean {
  const { image, director } = command
  const problems: PublishProblem[] = []
  try {
    for (const [repository, text] of [
      ['image', image.root],
      ['director', director.root],
    ] as const) {
      problems.push(...checkRoot({ envelope: asServed(text), now }))
      problems.push(...onlineKeyProblems(repository, rootIn(text), keys))
    }
    problems.push(...targetsProblems(image, now), ...releaseKeyProblems(command, keys))
    const [first, second] = [image.root, director.root].map(
      (text) => rootIn(text)['x-evaluation'] === true,
    )
    if (first !== second) {
      problems.push({ fault: 'evaluation', detail: 'One root is for evaluation and one is not' })
    }
    if (problems.length === 0) return first === true
  } catch (error) {
    if (!(error instanceof MetadataError)) throw error
    problems.push({ fault: 'format', detail: error.message })
  }
  const message = `These roots may not be used: ${problems[0]?.detail}`
  throw new DomainError('invalid-request', message, { problems })
}

/** What is served are these very bytes, so they must be canonical (updates.md 2.1). */
function asServed(text: string): Envelope {
  const envelope = decodeEnvelope(Buffer.from(text), maxFileBytes)
  const { signedBytes, signatures, pqSignatures } = envelope
  if (encodeEnvelope(signedBytes, signatures, pqSignatures).toString() === text) return envelope
  throw new MetadataError('syntax', 'A file is not in canonical form')
}

function targetsProblems(image: ImportRoots['image'], now: Date): PublishProblem[] {
  const envelope = asServed(image.targets)
  const root = rootIn(image.root)
  const pqRequired = isPqRequired(root)
  const problems = checkTargetsDraft({ signed: envelope.signedBytes, pqRequired, now })
  if (!meetsSigners(envelope, targetsSigners(root))) {
    problems.push({ fault: 'signatures', detail: 'Too few signatures of targets keys' })
  }
  return problems
}

function releaseKeyProblems(command: ImportRoots, held: HeldKeys): PublishProblem[] {
  const { releasePqKeys = [], image } = command
  const detail = keysProblem(namedKeys(command), held)
  if (detail !== undefined) return [{ fault: 'keys', detail }]
  return isPqRequired(rootIn(image.root)) && releasePqKeys.length === 0
    ? [{ fault: 'keys', detail: 'The root requires ML-DSA release keys, and there are none' }]
    : []
}

function namedKeys({ releaseKeys, releasePqKeys = [] }: ImportRoots): NamedKey[] {
  const nameOf = (index: number) => releaseKeyNames[index] ?? `release-${index + 1}`
  return [
    ...releaseKeys.map((key, index) => ({ name: nameOf(index), key })),
    ...releasePqKeys.map((key, index) => ({ name: `${nameOf(index)}.pq`, key })),
  ]
}

function firstFile(
  repository: PublishedFile['repository'],
  role: string,
  text: string,
  now: Date,
): PublishedFile {
  const expires = role === 'root' ? rootIn(text).expires : targetsIn(text).expires
  return { repository, role, version: 1, text, expiresAt: new Date(expires), publishedAt: now }
}

async function areImported(tx: Tx, files: readonly PublishedFile[]): Promise<boolean> {
  const known = []
  for (const file of files) known.push(await findVersion(tx, file))
  if (known.every((row) => row === undefined)) return false
  if (known.every((row, index) => row?.envelope === files[index]?.text)) return true
  throw new DomainError(
    'conflict',
    'Other roots are imported already. Devices trust those: other roots mean another installation and other devices',
  )
}

export interface RootsReadiness {
  roots: 'none' | 'production' | 'evaluation'
}

/** For `/readyz`: whether anything can be published, and whether the keys are for trying the product out. */
export async function rootsReadiness({ db }: Pick<Context, 'db'>): Promise<RootsReadiness> {
  const current = await readCurrent(db)
  if (!current) return { roots: 'none' }
  const { 'x-evaluation': evaluation } = rootIn(current.director.root.text)
  return { roots: evaluation === true ? 'evaluation' : 'production' }
}

/** At every start and at the import: nobody is to find out later what these keys are worth. */
export async function warnOfEvaluation(ctx: Pick<Context, 'db' | 'log'>): Promise<void> {
  const { roots } = await rootsReadiness(ctx)
  logEvaluation(ctx, roots === 'evaluation')
}

function logEvaluation({ log }: Pick<Context, 'log'>, evaluation: boolean): void {
  if (!evaluation) return
  log.warn(
    'EVALUATION KEYS: the roots of this installation were made to try the product out; production devices refuse them',
  )
}
