import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'

import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { recordAudit } from '../audit/audit.ts'
import { rewrapAuditKeys } from '../audit/keys.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { rewrapWebhookSecrets } from '../enrollment/rewrap.ts'
import { DomainError } from '../errors.ts'
import { rewrapOnlineKeys } from '../metadata/rewrap.ts'
import { rewrapTotpSecrets } from '../sign-in/rewrap.ts'
import { replaceTicketSecret } from '../tickets/rewrap.ts'
import { rewrapEndpointSecrets } from '../webhooks/service.ts'
import { authorityKeyContext } from './authority-key.ts'
import type { AuthorityDeps, By } from './changes.ts'
import { hasCode, writeAtomically } from './files.ts'
import { newKekCheck, opensKekCheck } from './kek-check.ts'
import { putInPlace, settleKek } from './kek-swap.ts'
import { kekFiles, readKek } from './kek.ts'
import { readKekState, rewrapAuthorityKeys, rewrapServerKeys, setKekCheck } from './rewrap-store.ts'
import { serverKeyContext } from './server-certificate.ts'
import { lockInstallation, lockKekCheck } from './store.ts'

export interface KekStatus {
  rotatedAt: Date | null
  isPreviousKept: boolean
}

type Deps = Pick<AuthorityDeps, 'db' | 'clock' | 'log' | 'bus' | 'config' | 'kek'>

/** Everything in the database that the key-encryption key wraps; test/rules/wrapped.test.ts compares it with the schema. */
export const wrappedColumns = [
  'audit_key.wrapped_key',
  'authority.wrapped_key',
  'authority_request.wrapped_key',
  'enrollment_profile.webhook_secret',
  'online_key.next_wrapped_key',
  'online_key.wrapped_key',
  'person_totp.sealed_secret',
  'server_identity.wrapped_key',
  'sign_in_ticket.sealed_secret',
  'tls_ticket_key.wrapped_secret',
  'webhook_endpoint.previous_secret',
  'webhook_endpoint.secret',
] as const

export async function kekStatus({ db, config }: Pick<Deps, 'db' | 'config'>): Promise<KekStatus> {
  const state = await readKekState(db)
  const isPreviousKept = (await readKek(kekFiles(config).previous)) !== undefined
  return { rotatedAt: state?.kek_rotated_at ?? null, isPreviousKept }
}

/** File operations of two rotations in one process must not mix; those of two processes have directories of their own. */
const rotating = new Set<string>()

/**
 * Replaces the key-encryption key while everything runs: the next key is on the disk before anything is wrapped with it, all
 * wrapped keys change in one transaction, then the file is put in place and the one before kept aside until `confirmKek`.
 * A crash anywhere leaves a key file that opens the database, and the next start tidies up.
 *
 * @throws DomainError `conflict` while the previous key is still kept, `busy`, `storage-full` when files cannot be written
 */
export async function rotateKek(ctx: Deps, by: By): Promise<KekStatus> {
  const { config } = ctx
  if (rotating.has(config.kekFile)) throw new DomainError('busy', 'A rotation is under way')
  rotating.add(config.kekFile)
  try {
    await rotate(ctx, by)
  } finally {
    rotating.delete(config.kekFile)
  }
  await ctx.bus.publish('authority', ['kek'])
  return await kekStatus(ctx)
}

async function rotate(ctx: Deps, by: By): Promise<void> {
  const { db, config, kek, clock, log } = ctx
  await assertSettled(ctx)
  const previous = Buffer.from(kek)
  const next = randomBytes(kek.length)
  await writing(() => writeAtomically(kekFiles(config).next, next))
  const now = clock.now()
  const counts = await inTransaction(db, async (tx) => {
    await lockInstallation(tx)
    const check = await lockKekCheck(tx, 'update')
    if (!check || !opensKekCheck(previous, check)) {
      throw new DomainError('conflict', 'The key-encryption key was changed by another process')
    }
    const changed = await rewrapAll(tx, previous, { next, now })
    await setKekCheck(tx, newKekCheck(next), now)
    await recordAudit(tx, {
      at: now,
      actor: by.actor,
      action: 'key-encryption-key.rotate',
      subject: 'key-encryption-key',
      facts: changed,
      ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
    })
    return changed
  })
  // In place: every part of the process holds this buffer.
  next.copy(kek)
  await writing(() => putInPlace(config, previous))
  log.info(counts, 'rotated the key-encryption key')
}

async function rewrapAll(
  tx: Tx,
  from: Buffer,
  { next: to, now }: { next: Buffer; now: Date },
): Promise<Record<string, number>> {
  const rewrap = (wrapped: Buffer, context: string) =>
    wrapKey(to, unwrapKey(from, wrapped, context), context)
  return {
    authorityKeys: await rewrapAuthorityKeys(tx, rewrap, authorityKeyContext),
    serverKeys: await rewrapServerKeys(tx, rewrap, serverKeyContext),
    onlineKeys: await rewrapOnlineKeys(tx, from, to),
    auditKeys: await rewrapAuditKeys(tx, from, to),
    totpSecrets: await rewrapTotpSecrets(tx, from, to),
    webhookSecrets: await rewrapWebhookSecrets(tx, from, to),
    endpointSecrets: await rewrapEndpointSecrets(tx, from, to),
    ticketSecrets: await replaceTicketSecret(tx, to, now),
  }
}

/** Nothing is left of a rotation before: otherwise the file of the only key that fits could be written over. */
async function assertSettled({ db, config, kek }: Deps): Promise<void> {
  const files = kekFiles(config)
  const state = await readKekState(db)
  if (!state || !opensKekCheck(kek, state.kek_check)) {
    throw new DomainError('busy', 'The key-encryption key is being changed: try again')
  }
  const current = await readKek(files.current)
  if (!current?.equals(kek)) {
    const next = await readKek(files.next)
    if (!next?.equals(kek) || !current) {
      throw new DomainError(
        'conflict',
        'The file of the key-encryption key does not hold the key that is in use: put it back first',
      )
    }
    await writing(() => putInPlace(config, current))
  }
  if (await readKek(files.previous)) {
    throw new DomainError(
      'conflict',
      'The key from before the last rotation is still kept: confirm that rotation first',
    )
  }
}

/**
 * Ends a rotation: the key before is removed from this machine. Backups of the database from before need it, so it should be
 * kept with them. Again changes nothing.
 */
export async function confirmKek(ctx: Deps, by: By): Promise<KekStatus> {
  const { db, config, kek, clock } = ctx
  const files = kekFiles(config)
  const current = await readKek(files.current)
  if (!current?.equals(kek)) {
    throw new DomainError('conflict', 'The file does not hold the key that is in use')
  }
  if (await readKek(files.previous)) {
    await inTransaction(db, async (tx) => {
      await recordAudit(tx, {
        at: clock.now(),
        actor: by.actor,
        action: 'key-encryption-key.confirm',
        subject: 'key-encryption-key',
        facts: {},
        ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
      })
    })
    await writing(() => rm(files.previous, { force: true }))
  }
  return await kekStatus(ctx)
}

/** Takes over a rotation that another process made, when its file is here. Says so when it is not. */
export async function followKek({
  db,
  config,
  kek,
  log,
}: Pick<Context, 'db' | 'config' | 'kek' | 'log'>): Promise<void> {
  if (rotating.has(config.kekFile)) return
  const state = await readKekState(db)
  if (!state || opensKekCheck(kek, state.kek_check)) return
  if (await settleKek(config, kek, state.kek_check)) {
    log.info('took over the key-encryption key of another process')
    return
  }
  log.error(
    { file: config.kekFile },
    'the key-encryption key was changed by another process: copy its file here, or this process cannot make keys and will not start again',
  )
}

async function writing<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const isRefused = ['EACCES', 'EROFS', 'EPERM', 'EBUSY', 'EXDEV'].some((code) =>
      hasCode(error, code),
    )
    throw new DomainError(
      isRefused ? 'conflict' : 'storage-full',
      isRefused
        ? 'The file of the key-encryption key cannot be replaced: its directory must be writable for a rotation'
        : 'The file of the key-encryption key could not be written',
      {},
      { cause: error },
    )
  }
}
