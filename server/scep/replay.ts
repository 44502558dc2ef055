import type { ScepMessage } from '../../pki/scep/request.ts'
import { spkiHash } from '../certificates/intent.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { countNonces, insertNonce, saveTransaction } from './store.ts'

const hourMs = 3_600_000
/** Of one signer: a device that polls each minute, and room for retries. */
const maxPerHour = 120

export interface Begun {
  profileId: string
  /** Whose challenge opened it; null for a renewal. */
  tokenId: string | null
  /** The request, DER, and the key it is for. */
  csr: Buffer
  spki: Buffer
}

/**
 * Takes a message that was authenticated: its nonce counts once, and its transactionID belongs to the key that it was
 * first used for. Whoever lost an answer asks again with a new nonce.
 *
 * @throws DomainError `conflict` for a message that was seen, or a transactionID of another key; `rate-limited`
 */
export async function takeMessage(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { signer, senderNonce, transactionId }: ScepMessage,
  begun?: Begun,
): Promise<void> {
  const now = clock.now()
  const signerHash = spkiHash(signer.spki)
  await inTransaction(db, async (tx) => {
    const since = new Date(now.getTime() - hourMs)
    if ((await countNonces(tx, signerHash, since)) >= maxPerHour) {
      throw new DomainError('rate-limited', `At most ${maxPerHour} messages an hour`)
    }
    const nonce = { spki_sha256: signerHash, nonce: senderNonce, seen_at: now }
    if (!(await insertNonce(tx, nonce))) {
      throw new DomainError('conflict', 'This message was sent before: use a new senderNonce')
    }
    if (!begun) return
    const isOurs = await saveTransaction(tx, {
      profile_id: begun.profileId,
      transaction_id: transactionId,
      spki_sha256: spkiHash(begun.spki),
      token_id: begun.tokenId,
      csr: begun.csr,
      last_seen_at: now,
    })
    if (!isOurs) throw new DomainError('conflict', 'This transactionID belongs to another key')
  })
}
