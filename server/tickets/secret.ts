import { randomBytes } from 'node:crypto'

import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import type { Tx } from '../db/client.ts'
import { putTicketKey, type TicketKeyRow } from './store.ts'

const secretBytes = 48

const contextOf = (version: number) => `tls_ticket_key/${version}`

/** @returns the secret of a row; throws PkiError `wrap` for another key-encryption key */
export function openTicketSecret(kek: Buffer, row: TicketKeyRow): Buffer {
  return unwrapKey(kek, row.wrapped_secret, contextOf(row.version))
}

/**
 * Puts a new random secret in the place of that of version `before` (0: there is none), which nobody can open a ticket with from then
 * on. The caller holds the key-encryption key still (`assertKek`). Returns whether it did: another process may have been first.
 */
export async function renewTicketSecret(
  tx: Tx,
  { kek, before, now }: { kek: Buffer; before: number; now: Date },
): Promise<boolean> {
  const version = before + 1
  const wrapped = wrapKey(kek, randomBytes(secretBytes), contextOf(version))
  return await putTicketKey(tx, { version, wrapped_secret: wrapped, made_at: now })
}
