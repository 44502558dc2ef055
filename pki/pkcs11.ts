import { createHash, randomBytes } from 'node:crypto'

import { type KeyFamily, signatureAlgorithmOf, signingIdentifierOf } from './algorithms.ts'
import { DerReader } from './der/reader.ts'
import { tags } from './der/tags.ts'
import { bitString, integer, oid, sequence } from './der/writer.ts'
import { ecdsaDer } from './ecdsa-der.ts'
import { PkiError } from './errors.ts'
import { type PublicKey, readPublicKey } from './keys.ts'
import {
  type Attribute,
  ck,
  type Handle,
  type Mechanism,
  type Pkcs11Library,
} from './pkcs11-binding.ts'
import { type Pkcs11Token, tokenAt, type TokenAccess } from './pkcs11-token.ts'
import { parsePkcs11Uri, type Pkcs11Uri } from './pkcs11-uri.ts'
import { type Signer, verifyWithKey } from './signer.ts'

export const tokenAlgorithms = ['P-256', 'P-384', 'Ed25519', 'RSA-3072', 'RSA-4096'] as const
export type TokenAlgorithm = (typeof tokenAlgorithms)[number]

export interface Pkcs11Access extends Omit<TokenAccess, 'modulePath'> {
  /** `pkcs11:token=…;object=…`, with `?module-path=…` unless `modulePath` says it. */
  readonly uri: string
  readonly modulePath?: string | undefined
}

/** DER of the curve, as CKA_EC_PARAMS has it. */
const curves = {
  'P-256': '06082a8648ce3d030107',
  'P-384': '06052b81040022',
  // A PrintableString: what tokens knew before PKCS #11 v3 gave it an identifier.
  Ed25519: '130c656477617264733235353139',
} as const
/** SubjectPublicKeyInfo.algorithm by CKA_EC_PARAMS, hex. */
const curveIdentifiers: Readonly<Record<string, string>> = {
  [curves['P-256']]: '301306072a8648ce3d020106082a8648ce3d030107',
  [curves['P-384']]: '301006072a8648ce3d020106052b81040022',
  [curves.Ed25519]: '300506032b6570',
  '06032b6570': '300506032b6570',
}
const rsaIdentifier = sequence(oid('1.2.840.113549.1.1.1'), Buffer.from('0500', 'hex'))
const maxSignatureBytes = 1024

/**
 * The key of a URI as a Signer. The public key is read from the token, where it stands beside the private one. Every signature
 * is verified before it is given out.
 *
 * @throws PkiError `token` when the token, the package or the key is missing; `key` for a key that is not allowed
 */
export async function openPkcs11Key(access: Pkcs11Access): Promise<Signer> {
  const at = opened(access)
  const spki = await at.use(async (library, session) => {
    const spkiOfKey = readSpki(library, session, at.uri)
    if (!spkiOfKey) throw new PkiError('token', 'The token has no such key')
    return spkiOfKey
  })
  return signerOf(at, readPublicKey(spki))
}

/**
 * A Signer for a key whose public half is known, such as from its certificate. Nothing is opened before the first signature, so
 * the token may be away.
 */
export function pkcs11SignerFor(spki: Buffer, access: Pkcs11Access): Signer {
  const at = opened(access)
  return signerOf(at, readPublicKey(spki))
}

/**
 * The key of a URI, made in the token when it is not there: it can neither be read nor taken out. Again gives the same key.
 *
 * @throws PkiError `token`; `key` when the key that is there is of another algorithm
 */
export async function makePkcs11Key(
  access: Pkcs11Access,
  algorithm: TokenAlgorithm,
): Promise<Signer> {
  const at = opened(access)
  if (at.uri.object === undefined) throw new PkiError('token', 'A new key needs a label (object=…)')
  const spki = await at.use(async (library, session) => {
    const known = readSpki(library, session, at.uri)
    if (known) return known
    await generate(library, session, at.uri, algorithm)
    const made = readSpki(library, session, at.uri)
    if (!made) throw new PkiError('token', 'The token did not keep the key')
    return made
  })
  const key = readPublicKey(spki)
  if (key.algorithm !== algorithm) {
    throw new PkiError('key', `The key that is there is ${key.algorithm}, not ${algorithm}`)
  }
  return signerOf(at, key)
}

/**
 * Destroys the key of a URI in its token, when it is the one with this public half: another one may have been given its label since.
 * Again changes nothing.
 *
 * @throws PkiError `token`; also when the public half is missing there, so that nobody can tell whose the key is
 */
export async function destroyPkcs11Key(spki: Buffer, access: Pkcs11Access): Promise<void> {
  const at = opened(access)
  await at.use(async (library, session) => {
    const [half] = find(library, session, at.uri, ck.class.publicKey)
    if (half && !spkiAt(library, session, half).equals(spki)) return
    if (!half && find(library, session, at.uri, ck.class.privateKey).length > 0) {
      throw new PkiError('token', 'No public key stands beside the private one: destroy it there')
    }
    for (const kind of [ck.class.privateKey, ck.class.publicKey]) {
      for (const handle of find(library, session, at.uri, kind))
        library.C_DestroyObject(session, handle)
    }
  })
}

interface Opened {
  uri: Pkcs11Uri
  use: <T>(work: (library: Pkcs11Library, session: Handle) => Promise<T>) => Promise<T>
}

function opened({ uri: text, modulePath, pin, ...access }: Pkcs11Access): Opened {
  const uri = parsePkcs11Uri(text)
  const path = modulePath ?? uri.modulePath
  if (path === undefined) {
    throw new PkiError('token', 'Which library speaks to the token? Add ?module-path=/… to the URI')
  }
  const token: Pkcs11Token = tokenAt(uri, { ...access, modulePath: path })
  return { uri, use: async (work) => await token.use(pin, work) }
}

function signerOf({ uri, use }: Opened, key: PublicKey): Signer {
  const algorithm = signingIdentifierOf(key.family)
  return {
    algorithm,
    spki: key.spki,
    async sign(bytes) {
      const raw = await use(async (library, session) => {
        const handle = onlyKey(library, session, uri)
        const { mechanism, input } = operation(key.family, bytes)
        library.C_SignInit(session, mechanism, handle)
        return await library.C_SignAsync(session, input, Buffer.alloc(maxSignatureBytes))
      })
      const signature = Buffer.from(isCurve(key.family) ? ecdsaDer(raw) : raw)
      // A faulty token, or one whose key was exchanged, would give out certificates that nobody accepts.
      if (!verifyWithKey(algorithm, key, bytes, signature)) {
        throw new PkiError('token', 'The signature of the token is not of the key it should have')
      }
      return signature
    },
  }
}

function isCurve(family: KeyFamily): boolean {
  return family === 'P-256' || family === 'P-384'
}

function operation(family: KeyFamily, bytes: Buffer): { mechanism: Mechanism; input: Buffer } {
  switch (family) {
    case 'P-256':
    case 'P-384': {
      const digest = signatureAlgorithmOf(signingIdentifierOf(family))?.digest ?? 'sha256'
      const input = createHash(digest).update(bytes).digest()
      return { mechanism: mechanismOf(ck.mechanism.ecdsa), input }
    }
    case 'Ed25519':
      return { mechanism: mechanismOf(ck.mechanism.eddsa), input: bytes }
    case 'RSA':
      return { mechanism: mechanismOf(ck.mechanism.sha256Rsa), input: bytes }
    case 'ML-DSA-44':
    case 'ML-DSA-65':
    case 'ML-DSA-87':
    default:
      throw new PkiError('token', `Keys of the kind ${family} are not used in tokens`)
  }
}

function mechanismOf(mechanism: number): Mechanism {
  return { mechanism, parameter: null }
}

function onlyKey(library: Pkcs11Library, session: Handle, uri: Pkcs11Uri): Handle {
  const [key, ...more] = find(library, session, uri, ck.class.privateKey)
  if (!key) throw new PkiError('token', 'The token has no such key')
  if (more.length > 0) throw new PkiError('token', 'The token has several such keys: add id=…')
  return key
}

function find(
  library: Pkcs11Library,
  session: Handle,
  { object, id }: Pkcs11Uri,
  kind: number,
): Handle[] {
  library.C_FindObjectsInit(session, [
    { type: ck.class.type, value: kind },
    ...(object === undefined ? [] : [{ type: ck.attribute.label, value: object }]),
    ...(id === undefined ? [] : [{ type: ck.attribute.id, value: id }]),
  ])
  const found = library.C_FindObjects(session, 2)
  library.C_FindObjectsFinal(session)
  return found
}

/** SubjectPublicKeyInfo of the key, from the public object beside it; undefined when the token has none of it. */
function readSpki(library: Pkcs11Library, session: Handle, uri: Pkcs11Uri): Buffer | undefined {
  if (find(library, session, uri, ck.class.privateKey).length === 0) return undefined
  onlyKey(library, session, uri)
  const [handle, ...more] = find(library, session, uri, ck.class.publicKey)
  if (!handle || more.length > 0) {
    throw new PkiError('token', 'The token must hold one public key beside the private one')
  }
  return spkiAt(library, session, handle)
}

function spkiAt(library: Pkcs11Library, session: Handle, handle: Handle): Buffer {
  const read = (type: number) => library.C_GetAttributeValue(session, handle, [{ type }])[0]?.value
  const keyType = read(ck.attribute.keyType)?.readUInt32LE(0)
  switch (keyType) {
    case ck.keyType.ec:
    case ck.keyType.edwards:
      return curveSpki(read(ck.attribute.ecParams), read(ck.attribute.ecPoint))
    case ck.keyType.rsa:
      return rsaSpki(read(ck.attribute.modulus), read(ck.attribute.publicExponent))
    case undefined:
    default:
      throw new PkiError('token', 'Only EC, Ed25519 and RSA keys of a token are used')
  }
}

const nothing: Buffer = Buffer.alloc(0)

function curveSpki(parameters = nothing, point = nothing): Buffer {
  const identifier = curveIdentifiers[parameters.toString('hex')]
  if (identifier === undefined) {
    throw new PkiError('token', 'Only the curves P-256, P-384 and Ed25519 are used')
  }
  const reader = new DerReader(point)
  const octets = reader.content(tags.octetString)
  reader.finish()
  return sequence(Buffer.from(identifier, 'hex'), bitString(octets))
}

function rsaSpki(modulus = nothing, exponent = nothing): Buffer {
  return sequence(rsaIdentifier, bitString(sequence(integer(modulus), integer(exponent))))
}

async function generate(
  library: Pkcs11Library,
  session: Handle,
  { object = '', id = randomBytes(20) }: Pkcs11Uri,
  algorithm: TokenAlgorithm,
): Promise<void> {
  const common: Attribute[] = [
    { type: ck.attribute.token, value: true },
    { type: ck.attribute.label, value: object },
    { type: ck.attribute.id, value: id },
  ]
  const { mechanism, parameters } = generation(algorithm)
  await library.C_GenerateKeyPairAsync(
    session,
    mechanismOf(mechanism),
    [...common, { type: ck.attribute.verify, value: true }, ...parameters],
    [
      ...common,
      { type: ck.attribute.sign, value: true },
      { type: ck.attribute.private, value: true },
      { type: ck.attribute.sensitive, value: true },
      { type: ck.attribute.extractable, value: false },
    ],
  )
}

function generation(algorithm: TokenAlgorithm): { mechanism: number; parameters: Attribute[] } {
  switch (algorithm) {
    case 'P-256':
    case 'P-384':
    case 'Ed25519': {
      const { ecKeyPair, edwardsKeyPair } = ck.mechanism
      const value = Buffer.from(curves[algorithm], 'hex')
      return {
        mechanism: algorithm === 'Ed25519' ? edwardsKeyPair : ecKeyPair,
        parameters: [{ type: ck.attribute.ecParams, value }],
      }
    }
    case 'RSA-3072':
    case 'RSA-4096':
      return {
        mechanism: ck.mechanism.rsaKeyPair,
        parameters: [
          { type: ck.attribute.modulusBits, value: Number(algorithm.slice('RSA-'.length)) },
          { type: ck.attribute.publicExponent, value: Buffer.from('010001', 'hex') },
        ],
      }
    default:
      throw new PkiError('token', 'Unknown key algorithm')
  }
}
