import { countValidSignatures, decodeEnvelope, encodeEnvelope } from '../../pki/tuf/envelope.ts'
import { countPqSignatures, type Signers } from '../../pki/tuf/post-quantum.ts'
import type { MetadataFile, MetadataSignature } from './store.ts'

/** A threshold that is not met yet. */
export interface Missing {
  /** The keys that may sign the role now or, of a root, those that it names itself. */
  keys: 'current' | 'next'
  scheme: 'ed25519' | 'ml-dsa'
  signatures: number
  threshold: number
}

/** The file as it will be served, with every signature of this very text that was sent. */
export function envelopeOf(draft: MetadataFile, rows: readonly MetadataSignature[]): string {
  const mine = rows.filter((row) => row.signed_sha256 === draft.signed_sha256)
  const of = (isClassical: boolean) =>
    mine
      .filter(({ scheme }) => (scheme === 'ed25519') === isClassical)
      .map(({ keyid, sig }) => ({ keyid, sig }))
  return encodeEnvelope(Buffer.from(draft.signed), of(true), of(false)).toString()
}

/** What is missing before the file may be published: both halves of old and new keys (updates.md 3.4 and 10). */
export function missingIn(authorities: readonly Signers[], text: string): Missing[] {
  const envelope = decodeEnvelope(Buffer.from(text), text.length)
  const { signedBytes, signatures } = envelope
  return authorities
    .flatMap(({ keys, role, pq }, index): Missing[] => {
      const of = index === 0 ? 'current' : 'next'
      const count = countValidSignatures(signedBytes, signatures, keys, role)
      return [
        { keys: of, scheme: 'ed25519', signatures: count, threshold: role.threshold },
        ...(pq
          ? [
              {
                keys: of,
                scheme: 'ml-dsa',
                signatures: countPqSignatures(envelope, pq.keys, pq.role),
                threshold: pq.role.threshold,
              } as const,
            ]
          : []),
      ]
    })
    .filter(({ signatures: count, threshold }) => count < threshold)
}
