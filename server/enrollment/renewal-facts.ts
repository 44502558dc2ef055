import type { CertificateRow } from '../certificates/intent.ts'
import type { Tx } from '../db/client.ts'
import { findReplaced } from './lapsed-store.ts'

/** For the audit trail: what kind of issuance this was, told from the rows alone, since a crash may lie between asking and issuing. */
export async function renewalFacts(
  tx: Tx,
  { replaces_id: replaces, spki_sha256: spki, created_at: askedAt }: CertificateRow,
): Promise<Record<string, unknown>> {
  if (replaces === null) return { kind: 'enroll' }
  const replaced = await findReplaced(tx, replaces)
  if (!replaced) return { kind: 'renew', replaces }
  return {
    kind: replaced.spki_sha256.equals(spki) ? 'renew' : 'rekey',
    replaces,
    ...(replaced.not_after < askedAt ? { afterExpiry: true } : {}),
  }
}
