import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import type { Tx } from '../db/client.ts'
import { lockSealed, setSealed } from './sealed-store.ts'
import { totpContext } from './totp.ts'

/** Seals the secrets of authenticator apps with another key-encryption key, in the caller's transaction. Returns how many. */
export async function rewrapTotpSecrets(tx: Tx, from: Buffer, to: Buffer): Promise<number> {
  const rows = await lockSealed(tx)
  for (const row of rows) {
    const context = totpContext(row.personId)
    await setSealed(tx, row, wrapKey(to, unwrapKey(from, row.sealed, context), context))
  }
  return rows.length
}
