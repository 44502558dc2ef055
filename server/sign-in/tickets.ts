import { createHash, randomBytes } from 'node:crypto'

import type { Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { insertTicket, type NewTicket } from './ticket-store.ts'

/** How long somebody may take between two steps. */
export const ticketMs = 10 * 60_000
/** Typing mistakes that one ticket bears. */
export const maxTries = 6

/** A token of 256 random bits in base64url; its hash is all that is stored. */
export function newToken(): { token: string; hash: Buffer } {
  const token = randomBytes(32).toString('base64url')
  return { token, hash: hashToken(token) }
}

/** SHA-256, 32 bytes. */
export function hashToken(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** Stores a ticket for ten minutes. Returns what its holder shows at the next step. */
export async function giveTicket(
  tx: Tx,
  now: Date,
  about: Omit<NewTicket, 'token_hash' | 'created_at' | 'expires_at'>,
): Promise<{ ticket: string; expiresAt: Date }> {
  const { token, hash } = newToken()
  const expiresAt = new Date(now.getTime() + ticketMs)
  await insertTicket(tx, { ...about, token_hash: hash, created_at: now, expires_at: expiresAt })
  return { ticket: token, expiresAt }
}

export function ticketOver(): DomainError {
  return new DomainError(
    'not-authenticated',
    'This took too long, or did not fit too often: begin again',
  )
}
