import type { KeyObject } from 'node:crypto'

import { buildCsr } from '../../pki/csr/build.ts'
import { oids } from '../../pki/der/oids.ts'
import {
  bitString,
  contextConstructed,
  integer,
  oid,
  sequence,
  setOf,
  utf8String,
} from '../../pki/der/writer.ts'
import { spkiOf } from '../../pki/keys.ts'
import { signNow } from '../../pki/signer.ts'

/** A request with attributes of any kind beside the names it asks for. */
export function csrWithAttributes(
  key: KeyObject,
  { subject, uris = [] }: { subject: Buffer; uris?: string[] },
  attributes: readonly Buffer[],
): Buffer {
  const own = uris.length === 0 ? [] : [extensionRequestIn(buildCsr(key, { subject, uris }))]
  const all = [...own, ...attributes].toSorted((a, b) => a.compare(b))
  const info = sequence(integer(0), subject, spkiOf(key), contextConstructed(0, ...all))
  const { algorithm, signature } = signNow(key, info)
  return sequence(info, algorithm, bitString(signature))
}

export function challengePassword(text: string): Buffer {
  return sequence(oid(oids.challengePassword), setOf(utf8String(text)))
}

/** The attribute as buildCsr writes it. */
function extensionRequestIn(csr: Buffer): Buffer {
  const at = csr.indexOf(oid(oids.extensionRequest)) - 2
  return csr.subarray(at, at + (csr[at + 1] ?? 0) + 2)
}
