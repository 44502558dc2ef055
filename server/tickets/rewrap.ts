import type { Tx } from '../db/client.ts'
import { renewTicketSecret } from './secret.ts'
import { readTicketKey } from './store.ts'

/**
 * Replaces the secret of tickets by a new one under another key-encryption key, in the caller's transaction: whoever knew the key
 * before opens no ticket from then on, and what it costs is full handshakes. Returns how many secrets there were.
 */
export async function replaceTicketSecret(tx: Tx, to: Buffer, now: Date): Promise<number> {
  const row = await readTicketKey(tx)
  if (!row) return 0
  await renewTicketSecret(tx, { kek: to, before: row.version, now })
  return 1
}
