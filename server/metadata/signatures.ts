import { verifySignature } from '../../pki/tuf/envelope.ts'
import { parseStrict } from '../../pki/tuf/json.ts'
import { type Signers, verifyPqSignature } from '../../pki/tuf/post-quantum.ts'
import { readTargets } from '../../pki/tuf/read.ts'
import type { PqSignature, Signature } from '../../pki/tuf/types.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import { authoritiesOf, authorityOf, keysOf } from './authority.ts'
import { type CurrentMetadata, requireCurrent } from './current.ts'
import { publishedTargets, targetsIn } from './drafts.ts'
import { findHandover, signersAfter } from './handover.ts'
import { envelopeOf, type Missing, missingIn } from './progress.ts'
import { publishDraft, type PublishDeps } from './publish.ts'
import { modelOf, type RoleRef, roleNameOf } from './roles.ts'
import {
  findVersion,
  insertSignatures,
  listSignatures,
  lockMetadata,
  type MetadataFile,
  type MetadataSignature,
} from './store.ts'

export interface SendSignatures {
  ref: RoleRef
  version: number
  /** Lower hex, of the canonical text that was signed. */
  signedSha256: string
  signatures: Signature[]
  /** ML-DSA, base64 (updates.md 10). */
  pqSignatures?: PqSignature[] | undefined
  actor: string
  requestId?: string
}

export interface SignedVersion {
  role: string
  version: number
  state: 'draft' | 'published'
  /** Distinct keys that signed. */
  signatures: number
  threshold: number
  /** Thresholds that are not met yet, of a root also those of the keys it names itself. */
  missing: Missing[]
}

/**
 * Takes signatures of the offline signer (updates.md 3.1 step 4): all of them verify or none is taken. `root`, `targets` and a
 * model's file that adds no build publish themselves at the threshold; a new build waits for the release's
 * `publish`. Sending them again changes nothing. Throws DomainError `signature-invalid`, `conflict` when the
 * draft is another by now, `not-found`; for a published version with other bytes also records a critical event.
 */
export async function sendSignatures(
  ctx: PublishDeps & Pick<Context, 'metrics'>,
  command: SendSignatures,
): Promise<SignedVersion> {
  const current = await requireCurrent(ctx.db)
  const file = await findVersion(ctx.db, { ...command.ref, version: command.version })
  if (!file) {
    throw new DomainError('not-found', 'No such version of this role', {
      role: roleNameOf(command.ref),
      version: command.version,
    })
  }
  await requireSameBytes(ctx, command, file)
  const answer = (
    state: SignedVersion['state'],
    rows: readonly MetadataSignature[],
    missing: Missing[] = [],
  ): SignedVersion => ({
    role: roleNameOf(command.ref),
    version: command.version,
    state,
    signatures: rows.filter(({ scheme }) => scheme === 'ed25519').length,
    threshold: authorityOf(current, file).role.threshold,
    missing,
  })
  if (file.state === 'published') {
    return answer('published', await listSignatures(ctx.db, file))
  }
  const authorities = authoritiesOf(current, file)
  const next = await nextSigners(ctx.db, current, file)
  const sent = requireValid([...authorities, ...next], file, command)
  const rows = await inTransaction(ctx.db, (tx) => store(tx, { file, sent, command, ctx }))
  const text = envelopeOf(file, rows)
  const missing = missingIn(authorities, text)
  const isHandedOver = missing.length > 0 && next.length > 0 && missingIn(next, text).length === 0
  if ((missing.length > 0 && !isHandedOver) || (await addsBuilds(ctx, file))) {
    return answer('draft', rows, missing)
  }
  const { actor, requestId } = command
  // Under the keys that the waiting targets give it, the file goes out together with them.
  const ref = isHandedOver ? targetsRole : command.ref
  await publishDraft(ctx, { ref, actor, ...(requestId ? { requestId } : {}) })
  return answer('published', rows)
}

const targetsRole: RoleRef = { repository: 'image', role: 'targets' }

/** Of a model's role: who will sign it when the targets that wait are published. */
async function nextSigners(
  db: Context['db'],
  current: CurrentMetadata,
  file: MetadataFile,
): Promise<Signers[]> {
  const handover = modelOf(file) === undefined ? undefined : await findHandover(db, current)
  const next = handover && signersAfter(current, targetsIn(handover.envelope), file.role)
  return next ? [next] : []
}

/** Equivocation: two texts under one version would let two devices believe different things. */
async function requireSameBytes(
  { db, clock, metrics }: Pick<Context, 'db' | 'clock' | 'metrics'>,
  { ref, version, signedSha256, signatures, actor }: SendSignatures,
  file: MetadataFile,
): Promise<void> {
  if (file.signed_sha256 === signedSha256 && file.state !== 'discarded') return
  const role = roleNameOf(ref)
  if (file.state !== 'published') {
    throw new DomainError(
      'conflict',
      'This draft was replaced: fetch the new one, look at it, sign it',
      { role, version },
    )
  }
  const severity = 'critical'
  const keyids = signatures.map(({ keyid }) => keyid)
  const facts = { role, version, published: file.signed_sha256, signedSha256, keyids, actor }
  metrics.securityEvents.inc({ source: 'server', severity })
  await inTransaction(db, async (tx) => {
    const now = clock.now()
    await recordEvents(tx, now, [{ source: 'server', kind: 'equivocation', severity, facts }])
  })
  throw new DomainError('conflict', `${role} ${version} is published with other bytes`, {
    role,
    version,
  })
}

interface Sent {
  keyid: string
  sig: string
  scheme: string
}

/** Every signature is by a key of the role over this very text. */
function requireValid(
  authorities: readonly Signers[],
  file: MetadataFile,
  { signatures, pqSignatures = [] }: Pick<SendSignatures, 'signatures' | 'pqSignatures'>,
): Sent[] {
  const signed = Buffer.from(file.signed)
  const check = (
    half: 'classical' | 'pq',
    given: readonly Signature[],
    verify: typeof verifySignature,
  ): Sent[] => {
    const signers = keysOf(authorities, half)
    return given.map(({ keyid, sig }) => {
      const key = signers.get(keyid)
      if (!key) throw invalid(`${roleNameOf(file)} is not signed by this key`, keyid)
      if (!verify(signed, key, sig)) throw invalid('The signature is not that of this draft', keyid)
      return { keyid, sig, scheme: key.scheme }
    })
  }
  return [
    ...check('classical', signatures, verifySignature),
    ...check('pq', pqSignatures, verifyPqSignature),
  ]
}

function invalid(message: string, keyid: string): DomainError {
  return new DomainError('signature-invalid', message, { keyid })
}

/** Gives all signatures of this draft. */
async function store(
  tx: Tx,
  input: { file: MetadataFile; sent: Sent[]; command: SendSignatures; ctx: Pick<Context, 'clock'> },
): Promise<MetadataSignature[]> {
  const { file, sent, command, ctx } = input
  const { repository, role, version, signed_sha256: signedSha256 } = file
  const { actor, requestId } = command
  const now = ctx.clock.now()
  await lockMetadata(tx)
  const held = await findVersion(tx, file)
  if (held?.signed_sha256 !== signedSha256) {
    throw new DomainError('conflict', 'The draft changed meanwhile', { role, version })
  }
  const added = await insertSignatures(
    tx,
    sent.map(({ keyid, sig, scheme }) => ({
      repository,
      role,
      version,
      keyid,
      sig,
      scheme,
      signed_sha256: signedSha256,
      sent_by: actor,
      at: now,
    })),
  )
  if (added.length > 0) {
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'metadata.sign',
      subject: roleNameOf(file),
      facts: { version, signedSha256, keyids: added },
      ...(requestId ? { requestId } : {}),
    })
  }
  return await listSignatures(tx, file)
}

/** Whether a person decides when the version goes out: it lists something that was not published before. */
async function addsBuilds({ db }: Pick<Context, 'db'>, file: MetadataFile): Promise<boolean> {
  if (modelOf(file) === undefined) return false
  const { targets: before } = await publishedTargets(db, file)
  const { targets } = readTargets(parseStrict(Buffer.from(file.signed), file.signed.length))
  return Object.keys(targets).some((path) => !Object.hasOwn(before, path))
}
