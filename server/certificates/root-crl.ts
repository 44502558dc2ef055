import { createHash } from 'node:crypto'

import { type Crl, findRevoked, parseCrl, verifyCrl } from '../../pki/crl/parse.ts'
import { PkiError } from '../../pki/errors.ts'
import { fromPem } from '../../pki/pem.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import { announceAuthorities, type By } from '../authorities/changes.ts'
import { readRevocationRev } from '../authorities/revocation-rev.ts'
import { revokeAuthorities } from '../authorities/revoked.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { recordEvents } from '../events/record.ts'
import { deleteOlderCrls, findLatestCrl, insertCrl, wholeList } from './crl-store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'bus' | 'authorities'>

const maxSkewMs = 300_000
const maxNumber = BigInt(Number.MAX_SAFE_INTEGER)

export interface ImportedCrl {
  number: number
  thisUpdate: Date
  nextUpdate: Date
  /** Authorities that it says are revoked. */
  revoked: string[]
}

/**
 * Takes the list of a root whose key is elsewhere, from a file of `fleetseal ceremony crl`, and publishes it under the address that
 * certificates below the root name. Authorities on it are marked: they are never activated again. The same list again changes
 * nothing.
 *
 * @throws DomainError `invalid-request` when it is not a list of this root, `conflict` when there is a later one or when it revokes an
 *   authority that issues now
 */
export async function importRootCrl(
  ctx: Deps,
  { authorityId, file, ...by }: By & { authorityId: string; file: string },
): Promise<ImportedCrl> {
  const root = await rootElsewhere(ctx, authorityId)
  const now = ctx.clock.now()
  const crl = readRootCrl(file, root, now)
  const revoked = await inTransaction(ctx.db, async (tx) => {
    const taken = await storeRootCrl(tx, { authorityId, crl })
    const listed = await revokeAuthorities(tx, {
      rootId: authorityId,
      now,
      find: (serial) => findRevoked(crl, serial),
    })
    if (taken) await record(tx, { authorityId, crl, listed: listed.newly, now, ...by })
    return listed.all
  })
  await announceAuthorities(ctx, [authorityId])
  await ctx.bus.publish('crl', [authorityId])
  const { thisUpdate, nextUpdate } = crl
  return { number: Number(crl.number), thisUpdate, nextUpdate, revoked }
}

async function rootElsewhere({ db, authorities }: Deps, id: string): Promise<Certificate> {
  const row = await db
    .selectFrom('authority')
    .select(['purpose', 'certificate'])
    .where('id', '=', id)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such authority', { authorityId: id })
  if (row.purpose !== 'root')
    throw new DomainError('conflict', 'Only the list of a root is imported')
  if (authorities.find(id)) {
    throw new DomainError('conflict', 'The key of this root is here: its list is made here')
  }
  return parseCertificate(row.certificate)
}

/**
 * Reads the list of a root, PEM.
 *
 * @throws DomainError `invalid-request`
 */
export function readRootCrl(file: string, root: Certificate, now: Date): Crl {
  try {
    const [der, ...more] = fromPem(file, 'X509 CRL')
    if (!der || more.length > 0) throw new PkiError('pem', 'The file must hold one list')
    const crl = parseCrl(der, 1024 * 1024)
    assertUsable(crl, root, now)
    return crl
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw new DomainError('invalid-request', error.message, { code: error.code }, { cause: error })
  }
}

function assertUsable(crl: Crl, root: Certificate, now: Date): void {
  const isOurs = root.subjectKeyId && crl.authorityKeyId?.equals(root.subjectKeyId)
  if (!isOurs || !verifyCrl(crl, root)) throw new PkiError('crl', 'The list is not of this root')
  if (crl.baseNumber !== undefined || crl.issuingDistributionPoint) {
    throw new PkiError('crl', 'The list must be the whole one of the root')
  }
  if (crl.number > maxNumber) throw new PkiError('crl', 'The number of the list is too high')
  if (crl.nextUpdate <= now) throw new PkiError('crl', 'The list has ended: make another')
  if (crl.thisUpdate.getTime() > now.getTime() + maxSkewMs) {
    throw new PkiError('crl', 'The list is from the future: look at the clocks of both machines')
  }
}

/** In the transaction. False when the same list is there already. @throws DomainError `conflict` for an older one */
export async function storeRootCrl(
  tx: Tx,
  { authorityId, crl }: { authorityId: string; crl: Crl },
): Promise<boolean> {
  const before = await findLatestCrl(tx, authorityId)
  if (before?.der.equals(crl.der)) return false
  const number = Number(crl.number)
  if (before && before.number >= number) {
    throw new DomainError('conflict', `List ${before.number} is here already: import a later one`, {
      number: before.number,
    })
  }
  const coversRev = await readRevocationRev(tx, authorityId)
  const isNew = await insertCrl(tx, {
    authority_id: authorityId,
    shard: wholeList,
    is_delta: false,
    number,
    covers_rev: coversRev,
    base_number: number,
    base_rev: coversRev,
    base_at: crl.thisUpdate,
    der: crl.der,
    this_update: crl.thisUpdate,
    next_update: crl.nextUpdate,
  })
  if (!isNew) throw new DomainError('conflict', 'Another list came at the same time: look again')
  if (before) await deleteOlderCrls(tx, authorityId, { shard: wholeList, before: before.number })
  return true
}

async function record(
  tx: Tx,
  {
    authorityId,
    crl,
    listed,
    now,
    actor,
    requestId,
  }: By & { authorityId: string; crl: Crl; listed: readonly string[]; now: Date },
): Promise<void> {
  await recordAudit(tx, {
    at: now,
    actor,
    action: 'authority.import-crl',
    subject: authorityId,
    facts: {
      number: Number(crl.number),
      sha256: createHash('sha256').update(crl.der).digest('hex'),
      nextUpdate: crl.nextUpdate.toISOString(),
      revoked: listed,
    },
    ...(requestId === undefined ? {} : { requestId }),
  })
  await recordEvents(
    tx,
    now,
    listed.map((id) => ({
      source: 'server',
      kind: 'authority-revoked',
      severity: 'critical',
      facts: { authorityId: id, rootId: authorityId },
    })),
  )
}
