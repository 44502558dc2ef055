import type { CsrContent } from '../csr/parse.ts'
import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { octetString, oid, sequence, setOf } from '../der/writer.ts'
import { PkiError } from '../errors.ts'

/** Which key a generated private key is to be encrypted to (RFC 7030 §4.4.1.1 and §4.4.1.2, RFC 4108). */
export interface DecryptKey {
  /** A key both sides know, or the public key of a certificate both sides know. */
  readonly kind: 'symmetric' | 'asymmetric'
  readonly id: Buffer
}

const types = {
  symmetric: '1.2.840.113549.1.9.16.2.37',
  asymmetric: '1.2.840.113549.1.9.16.2.54',
} as const
const maxIdBytes = 64

/**
 * The decrypt key a request names; undefined when it names none, and the key is then protected by TLS alone. A key that the
 * server does not know must end in an error, never in a key sent without this protection.
 *
 * @throws PkiError `csr` for both kinds at once, several values, or an identifier that is empty or above 64 octets
 */
export function readDecryptKey({
  attributes,
}: Pick<CsrContent, 'attributes'>): DecryptKey | undefined {
  const found = (['symmetric', 'asymmetric'] as const).flatMap((kind) => {
    const values = attributes.get(types[kind])
    return values ? [{ kind, id: readId(values) }] : []
  })
  if (found.length > 1) throw new PkiError('csr', 'Two keys to encrypt to are named')
  return found[0]
}

/** The attribute of a request that names a decrypt key, DER. */
export function encodeDecryptKey({ kind, id }: DecryptKey): Buffer {
  return sequence(oid(types[kind]), setOf(octetString(id)))
}

function readId(values: Buffer): Buffer {
  const reader = new DerReader(values)
  const id = reader.content(tags.octetString)
  reader.finish()
  if (id.length === 0 || id.length > maxIdBytes) {
    throw new PkiError('csr', 'A key identifier has 1 to 64 octets')
  }
  return id
}
