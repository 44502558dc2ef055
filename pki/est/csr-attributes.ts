import type { KeyAlgorithm } from '../algorithms.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { integer, oid, sequence, setOf } from '../der/writer.ts'
import { PkiError } from '../errors.ts'

/** AttrOrOID (RFC 7030 §4.5.2, RFC 8951 §3.2). Values are DER. */
export type CsrAttribute =
  | { readonly kind: 'oid'; readonly oid: string }
  | { readonly kind: 'attribute'; readonly type: string; readonly values: readonly Buffer[] }

const maxAttributes = 64
const maxValues = 64

/** What a request for a key of this kind has to show: the key with its parameter, and the signature algorithm. */
const keyRequirements: Readonly<
  Record<KeyAlgorithm, { key?: [type: string, parameter: Buffer]; signature: string }>
> = {
  'P-256': {
    key: ['1.2.840.10045.2.1', oid('1.2.840.10045.3.1.7')],
    signature: '1.2.840.10045.4.3.2',
  },
  'P-384': { key: ['1.2.840.10045.2.1', oid('1.3.132.0.34')], signature: '1.2.840.10045.4.3.3' },
  Ed25519: { signature: '1.3.101.112' },
  'RSA-2048': { key: ['1.2.840.113549.1.1.1', integer(2048)], signature: '1.2.840.113549.1.1.11' },
  'RSA-3072': { key: ['1.2.840.113549.1.1.1', integer(3072)], signature: '1.2.840.113549.1.1.11' },
  'RSA-4096': { key: ['1.2.840.113549.1.1.1', integer(4096)], signature: '1.2.840.113549.1.1.11' },
  'ML-DSA-44': { signature: '2.16.840.1.101.3.4.3.17' },
  'ML-DSA-65': { signature: '2.16.840.1.101.3.4.3.18' },
  'ML-DSA-87': { signature: '2.16.840.1.101.3.4.3.19' },
}

/**
 * CsrAttrs, what an EST server wants to see in a request, in the order given.
 *
 * @returns DER
 * @throws PkiError `csr` for an attribute without value or more than 64 of them
 */
export function encodeCsrAttributes(attributes: readonly CsrAttribute[]): Buffer {
  if (attributes.length > maxAttributes) throw new PkiError('csr', 'Too many attributes')
  return sequence(
    ...attributes.map((attribute) => {
      if (attribute.kind === 'oid') return oid(attribute.oid)
      if (attribute.values.length === 0) throw new PkiError('csr', 'An attribute without value')
      return sequence(oid(attribute.type), setOf(...attribute.values))
    }),
  )
}

/**
 * The attributes for one kind of key (RFC 8951 §3.2, RFC 9908 §3), with challengePassword where the client has to link its request
 * to the TLS session.
 */
export function csrAttributesFor(
  algorithm: KeyAlgorithm,
  { requiresLinking = false }: { requiresLinking?: boolean } = {},
): CsrAttribute[] {
  const { key, signature } = keyRequirements[algorithm]
  return [
    ...(requiresLinking ? [{ kind: 'oid', oid: oids.challengePassword } as const] : []),
    ...(key ? [{ kind: 'attribute', type: key[0], values: [key[1]] } as const] : []),
    { kind: 'oid', oid: signature },
  ]
}

/**
 * Reads CsrAttrs, for a client; the empty SEQUENCE means that nothing is wanted.
 *
 * @param der at most 64 KiB
 * @throws PkiError `der`, or `csr` for too much of anything
 */
export function readCsrAttributes(der: Buffer): CsrAttribute[] {
  checkDer(der, { setOrder: 'report' })
  const reader = new DerReader(der)
  const list = reader.enter(tags.sequence)
  reader.finish()
  const attributes: CsrAttribute[] = []
  while (!list.isDone()) {
    if (attributes.length >= maxAttributes) {
      throw new PkiError('csr', 'Too many attributes', list.offset)
    }
    attributes.push(
      list.peek() === tags.oid ? { kind: 'oid', oid: list.oid() } : readAttribute(list),
    )
  }
  return attributes
}

function readAttribute(list: DerReader): CsrAttribute {
  const attribute = list.enter(tags.sequence)
  const type = attribute.oid()
  const set = attribute.enter(tags.set)
  attribute.finish()
  const values: Buffer[] = []
  do {
    if (values.length >= maxValues) throw new PkiError('csr', 'Too many values', set.offset)
    values.push(set.raw())
  } while (!set.isDone())
  return { kind: 'attribute', type, values }
}
