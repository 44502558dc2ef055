import { PkiError } from '../../pki/errors.ts'
import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import type { Tx } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { lockKekCheck } from './store.ts'

const context = 'installation'
const text = Buffer.from('fleetseal')

/** Sealed with the key-encryption key: tells whether another one is the same. */
export function newKekCheck(kek: Buffer): Buffer {
  return wrapKey(kek, text, context)
}

export function opensKekCheck(kek: Buffer, check: Buffer): boolean {
  try {
    return unwrapKey(kek, check, context).equals(text)
  } catch (error) {
    if (error instanceof PkiError) return false
    throw error
  }
}

/**
 * In each transaction that stores something wrapped: a rotation of the key-encryption key waits for it, or is seen by it.
 *
 * @throws DomainError `busy` when the key in memory is not the current one any more
 */
export async function assertKek(tx: Tx, kek: Buffer): Promise<void> {
  const check = await lockKekCheck(tx, 'share')
  // Nothing is sealed before the installation is made.
  if (!check || opensKekCheck(kek, check)) return
  throw new DomainError('busy', 'The key-encryption key is being changed: try again')
}
