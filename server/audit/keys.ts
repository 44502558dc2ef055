import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'

import { endorseKey, logName } from '../../pki/audit/checkpoint.ts'
import { type NoteKey, rawPublicKey } from '../../pki/signed-note.ts'
import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { assertKek } from '../authorities/kek-check.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { recordAudit } from './audit.ts'
import {
  type AuditKeyRow,
  currentAuditKey,
  findAuditKey,
  insertAuditKey,
  listAuditKeys,
  retireAuditKey,
  setWrappedAuditKey,
} from './evidence-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'kek'>

/** What checkpoints are signed with. */
export interface AuditKey {
  id: string
  /** `fleetseal.audit/<id of the log>`. */
  log: string
  privateKey: KeyObject
}

/** The public half of a key, with its name, as verifiers take it. */
export function publicAuditKey(row: Pick<AuditKeyRow, 'log_id' | 'public_key'>): NoteKey {
  return { name: logName(row.log_id), publicKey: row.public_key }
}

/** Makes the first key of the log, for every start. Two processes that start at once agree on one. */
export async function ensureAuditKey({ db, clock, kek }: Deps): Promise<void> {
  if (await currentAuditKey(db)) return
  const now = clock.now()
  const key = newKey(kek, { id: newId(now), logId: newId(now), now })
  await inTransaction(db, async (tx) => {
    await assertKek(tx, kek)
    if (!(await insertAuditKey(tx, { ...key.row, endorsement: null }))) return
    await recordAudit(tx, {
      at: now,
      actor: 'system',
      action: 'audit-key.create',
      subject: key.row.id,
      facts: { log: logName(key.row.log_id), publicKey: key.row.public_key.toString('base64') },
    })
  })
}

/** The key in use. Throws DomainError `not-ready` before the first start has made one. */
export async function openAuditKey({ db, kek }: Pick<Deps, 'db' | 'kek'>): Promise<AuditKey> {
  const row = await currentAuditKey(db)
  if (!row?.wrapped_key) throw new DomainError('not-ready', 'The audit log has no key yet')
  return openRow(kek, row, row.wrapped_key)
}

/**
 * Replaces the key of the log: the next one is signed by the one before, whose private half is then gone. With an id that was
 * given to a key before, that one is answered and nothing is changed.
 *
 * @throws DomainError `conflict` when another replacement came first
 */
export async function rotateAuditKey(
  { db, clock, kek }: Deps,
  { id, actor, requestId }: { id: string; actor: string; requestId: string },
): Promise<AuditKeyRow> {
  const known = await findAuditKey(db, id)
  if (known) return known
  const now = clock.now()
  const before = await currentAuditKey(db)
  if (!before?.wrapped_key) throw new DomainError('not-ready', 'The audit log has no key yet')
  const { privateKey } = openRow(kek, before, before.wrapped_key)
  const next = newKey(kek, { id, logId: before.log_id, now }).row
  const endorsement = endorseKey(publicAuditKey(next), now.toISOString(), privateKey)
  return await inTransaction(db, async (tx) => {
    await assertKek(tx, kek)
    const isOurs =
      (await retireAuditKey(tx, before.id, now)) &&
      (await insertAuditKey(tx, { ...next, endorsement }))
    if (!isOurs) throw new DomainError('conflict', 'The key was replaced at the same moment')
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'audit-key.rotate',
      subject: id,
      facts: {
        from: { id: before.id, publicKey: before.public_key.toString('base64') },
        to: { id, publicKey: next.public_key.toString('base64') },
      },
      requestId,
    })
    return { ...next, endorsement, retired_at: null }
  })
}

/** Wraps the key with another key-encryption key, in the caller's transaction. Returns how many. */
export async function rewrapAuditKeys(tx: Tx, from: Buffer, to: Buffer): Promise<number> {
  let count = 0
  for (const { id, wrapped_key: wrapped } of await listAuditKeys(tx)) {
    if (!wrapped) continue
    await setWrappedAuditKey(
      tx,
      id,
      wrapKey(to, unwrapKey(from, wrapped, contextOf(id)), contextOf(id)),
    )
    count++
  }
  return count
}

function newKey(
  kek: Buffer,
  { id, logId, now }: { id: string; logId: string; now: Date },
): { row: Omit<AuditKeyRow, 'retired_at' | 'endorsement'> } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const pkcs8 = privateKey.export({ format: 'der', type: 'pkcs8' })
  return {
    row: {
      id,
      log_id: logId,
      public_key: rawPublicKey(publicKey),
      wrapped_key: wrapKey(kek, pkcs8, contextOf(id)),
      created_at: now,
    },
  }
}

function openRow(kek: Buffer, row: AuditKeyRow, wrapped: Buffer): AuditKey {
  const pkcs8 = unwrapKey(kek, wrapped, contextOf(row.id))
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  return { id: row.id, log: logName(row.log_id), privateKey }
}

/** What the wrapped key is bound to. */
function contextOf(id: string): string {
  return `audit-key/${id}`
}
