import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import type { Tx } from '../db/client.ts'
import { onlineKeyContext } from './online-keys.ts'
import { lockOnlineKeys, setWrappedOnlineKey } from './store.ts'

/** Wraps the online keys with another key-encryption key, in the caller's transaction. Returns how many. */
export async function rewrapOnlineKeys(tx: Tx, from: Buffer, to: Buffer): Promise<number> {
  const rows = await lockOnlineKeys(tx)
  for (const { repository, role, wrapped_key: active, next_wrapped_key: next } of rows) {
    const context = onlineKeyContext(repository, role)
    const rewrap = (wrapped: Buffer) => wrapKey(to, unwrapKey(from, wrapped, context), context)
    await setWrappedOnlineKey(
      tx,
      { repository, role },
      { active: rewrap(active), next: next && rewrap(next) },
    )
  }
  return rows.length
}
