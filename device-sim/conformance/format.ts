import { canonicalize } from '../../pki/tuf/canonical.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import type { JsonObject, JsonValue } from '../../pki/tuf/json.ts'
import type { Format } from '../../pki/tuf/repository.ts'
import {
  type Check,
  flag,
  integer,
  isObject,
  list,
  object,
  oneOf,
  optional,
  record,
  text,
} from '../../pki/tuf/shape.ts'
import type { Envelope, Signature } from '../../pki/tuf/types.ts'

/*
 * Metadata as any TUF 1.x repository may write it: strings with escapes (PEM keys have line ends), files without length and hash,
 * targets without our custom part. A device of ours never reads like this; the conformance command does.
 */

const maxSignatures = 64

/** Throws MetadataError; a key id that signs twice is an error (TUF 1.0.34 section 4.2.1). */
function decode(bytes: Buffer, maxBytes: number): Envelope {
  if (bytes.length > maxBytes) throw new MetadataError('too-large', `${bytes.length} bytes`)
  let file: JsonValue
  try {
    file = JSON.parse(bytes.toString('utf8')) as JsonValue
  } catch (cause) {
    throw new MetadataError('syntax', 'Not JSON', { cause })
  }
  const { signed, signatures } = memberOf(file)
  if (signed === undefined || !isObject(signed) || !Array.isArray(signatures)) {
    throw new MetadataError('shape', 'Not a metadata file')
  }
  const read = signatures.map(readSignature)
  if (read.length > maxSignatures || new Set(read.map(({ keyid }) => keyid)).size !== read.length) {
    throw new MetadataError('signatures', 'A key id signs twice, or too many do')
  }
  return { signed, signedBytes: canonicalize(signed), signatures: read, pqSignatures: [] }
}

function memberOf(file: JsonValue): Partial<JsonObject> {
  // What JSON.parse makes may be null, which our own parser never gives.
  return typeof file === 'object' && file !== null && !Array.isArray(file) ? file : {}
}

function readSignature(value: JsonValue): Signature {
  const { keyid, sig } = memberOf(value)
  if (typeof keyid === 'string' && typeof sig === 'string' && /^[0-9a-f]*$/i.test(sig)) {
    return { keyid, sig }
  }
  throw new MetadataError('signatures', 'A signature is {keyid, sig}')
}

const file = (type: string): Record<string, Check> => ({
  _type: oneOf(type),
  spec_version: text(/^1\.[0-9]{1,4}(?:\.[0-9]{1,4})?$/),
  version: integer(1),
  expires: text(/^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$/),
})
const keys = record(
  object({ keytype: text(), scheme: text(), keyval: object({ public: text(/^/, 8192) }) }),
)
const role = { keyids: list(text(), { most: 256 }), threshold: integer(1) }
const hashes = record(text(/^[0-9a-f]+$/), { least: 1, most: 16 })
const metaFile = object({
  version: integer(1),
  length: optional(integer(1)),
  hashes: optional(hashes),
})

const rootShape = object({
  ...file('root'),
  consistent_snapshot: optional(flag),
  keys,
  roles: object({
    root: object(role),
    timestamp: object(role),
    snapshot: object(role),
    targets: object(role),
  }),
})
const timestampShape = object({
  ...file('timestamp'),
  meta: object({ 'snapshot.json': metaFile }),
})
const snapshotShape = object({ ...file('snapshot'), meta: record(metaFile) })
const delegation = object({ ...role, name: text(), paths: list(text()), terminating: flag })
const targetsShape = object({
  ...file('targets'),
  targets: record(object({ length: integer(), hashes })),
  delegations: optional(object({ keys, roles: list(delegation, { most: 1024 }) })),
})

function reader<T>(shape: Check, what: string): (signed: JsonValue) => T {
  return (signed) => {
    shape(signed, what)
    return signed as T
  }
}

export const stockFormat: Format = {
  decode,
  root: reader(rootShape, 'root'),
  timestamp: reader(timestampShape, 'timestamp'),
  snapshot: reader(snapshotShape, 'snapshot'),
  targets: reader(targetsShape, 'targets'),
}
