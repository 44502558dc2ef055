import type { CrlEntry } from '../../pki/crl/parse.ts'
import { crlReasons } from '../../pki/crl/revocation.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import type { Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { listAuthorities, lockInstallation, setRevoked } from './store.ts'

/**
 * Marks the authorities below a root that its list names. What they issued counts here as before, since we know each certificate
 * we gave out: devices renew below another authority, and partners go by the list.
 *
 * @param find the entry for a serial number
 * @returns ids: all that are on the list, and those that were not marked before
 * @throws DomainError `conflict` when one of them issues now
 */
export async function revokeAuthorities(
  tx: Tx,
  {
    rootId,
    now,
    find,
  }: { rootId: string; now: Date; find: (serial: Buffer) => CrlEntry | undefined },
): Promise<{ all: string[]; newly: string[] }> {
  await lockInstallation(tx)
  const all: string[] = []
  const newly: string[] = []
  for (const row of await listAuthorities(tx)) {
    const entry =
      row.issuer_id === rootId ? find(parseCertificate(row.certificate).serial) : undefined
    if (!entry) continue
    all.push(row.id)
    if (row.revoked_at) continue
    if (row.state === 'active') {
      throw new DomainError(
        'conflict',
        `${row.name} issues now: make and activate another authority first, then import the list`,
        { authorityId: row.id },
      )
    }
    newly.push(row.id)
    const revokedAt = entry.revokedAt > now ? now : entry.revokedAt
    await setRevoked(tx, row.id, { revokedAt, reason: reasonName(entry.reason), now })
  }
  return { all, newly }
}

function reasonName(reason: number): string {
  const found = Object.entries(crlReasons).find(([, number]) => number === reason)
  return found?.[0] ?? 'unspecified'
}
