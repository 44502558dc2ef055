import type { KeyObject } from 'node:crypto'
import { createHash, createHmac, hash, randomBytes } from 'node:crypto'

import { cmsOids } from '../cms/cms-oids.ts'
import { oids } from '../der/oids.ts'
import { tags } from '../der/tags.ts'
import {
  contextConstructed,
  contextPrimitive,
  integer,
  nullValue,
  octetString,
  oid,
  sequence,
  setOf,
  tlv,
} from '../der/writer.ts'
import { encryptPrivateKey } from '../encrypted-key.ts'
import { PkiError } from '../errors.ts'
import { spkiOf } from '../keys.ts'
import { encryptWithPassphrase } from '../pbes2.ts'
import { parseCertificate } from '../x509/parse.ts'

export interface Pkcs12Input {
  readonly privateKey: KeyObject
  /** Of the private key, DER. */
  readonly certificate: Buffer
  /** Issuers, DER. */
  readonly chain?: readonly Buffer[]
  /** 8 to 128 visible ASCII characters. */
  readonly passphrase: string
  readonly friendlyName?: string
}

const pkcs12Oids = {
  shroudedKeyBag: '1.2.840.113549.1.12.10.1.2',
  certBag: '1.2.840.113549.1.12.10.1.3',
  x509Certificate: '1.2.840.113549.1.9.22.1',
  friendlyName: '1.2.840.113549.1.9.20',
  localKeyId: '1.2.840.113549.1.9.21',
  sha256: '2.16.840.1.101.3.4.2.1',
} as const

const version3 = 3
const macRounds = 10_000
const macSaltBytes = 16
const maxChain = 8
const maxFriendlyName = 64

/**
 * A PFX (RFC 7292) for any kind of key: key and certificates encrypted with PBES2 (AES-256-CBC, PBKDF2-SHA-256, 100,000 rounds), HMAC with
 * SHA-256 and 10,000 rounds.
 *
 * RSA keys are written here too: node-forge cannot carry an EC issuer in the chain and knows only SHA-1 in the MAC and in
 * PBKDF2.
 *
 * @returns DER
 * @throws PkiError `pkcs12` for a passphrase outside its bounds, a certificate of another key, or too long a chain
 */
export async function buildPkcs12(input: Pkcs12Input): Promise<Buffer> {
  const { privateKey, certificate, chain = [], passphrase } = input
  // Outside ASCII, programs differ in what they make of a passphrase.
  if (!/^[\x21-\x7e]{8,128}$/.test(passphrase)) {
    throw new PkiError('pkcs12', 'A passphrase has 8 to 128 visible ASCII characters')
  }
  if (chain.length > maxChain) throw new PkiError('pkcs12', 'The chain is too long')
  if (!parseCertificate(certificate).spki.equals(spkiOf(privateKey))) {
    throw new PkiError('pkcs12', 'The certificate is of another key')
  }
  const attributes = bagAttributes(certificate, input.friendlyName)
  const certificates = sequence(
    certificateBag(certificate, attributes),
    ...chain.map((der) => certificateBag(der)),
  )
  const shrouded = await encryptPrivateKey(privateKey, passphrase)
  const key = sequence(bag(pkcs12Oids.shroudedKeyBag, shrouded, attributes))
  const safe = sequence(await encryptedContent(certificates, passphrase), plainContent(key))
  return sequence(integer(version3), plainContent(safe), macData(safe, passphrase))
}

/** RFC 7292 §4.2: what ties a key to its certificate, and what to call both. */
function bagAttributes(certificate: Buffer, friendlyName: string | undefined): Buffer {
  const keyId = createHash('sha256').update(certificate).digest().subarray(0, 20)
  const attributes = [sequence(oid(pkcs12Oids.localKeyId), setOf(octetString(keyId)))]
  if (friendlyName !== undefined) {
    if (friendlyName.length > maxFriendlyName) throw new PkiError('pkcs12', 'The name is too long')
    const text = tlv(tags.bmpString, Buffer.from(friendlyName, 'utf16le').swap16())
    attributes.push(sequence(oid(pkcs12Oids.friendlyName), setOf(text)))
  }
  return setOf(...attributes)
}

function bag(type: string, value: Buffer, attributes: Buffer): Buffer {
  return sequence(oid(type), contextConstructed(0, value), attributes)
}

function certificateBag(der: Buffer, attributes: Buffer = Buffer.alloc(0)): Buffer {
  const value = contextConstructed(0, octetString(der))
  return bag(pkcs12Oids.certBag, sequence(oid(pkcs12Oids.x509Certificate), value), attributes)
}

function plainContent(content: Buffer): Buffer {
  return sequence(oid(oids.data), contextConstructed(0, octetString(content)))
}

/** EncryptedData, RFC 5652 §8. */
async function encryptedContent(content: Buffer, passphrase: string): Promise<Buffer> {
  const { algorithm, encrypted } = await encryptWithPassphrase(content, passphrase)
  const info = sequence(oid(oids.data), algorithm, contextPrimitive(0, encrypted))
  return sequence(oid(cmsOids.encryptedData), contextConstructed(0, sequence(integer(0), info)))
}

function macData(safe: Buffer, passphrase: string): Buffer {
  const salt = randomBytes(macSaltBytes)
  const key = deriveMacKey(passphrase, salt, macRounds)
  const mac = createHmac('sha256', key).update(safe).digest()
  const digestInfo = sequence(sequence(oid(pkcs12Oids.sha256), nullValue()), octetString(mac))
  return sequence(digestInfo, octetString(salt), integer(macRounds))
}

/** RFC 7292 appendix B.2 with SHA-256 and ID 3, for the 32 octets of one block. */
function deriveMacKey(passphrase: string, salt: Buffer, rounds: number): Buffer {
  const block = 64
  const password = Buffer.from(`${passphrase}\0`, 'utf16le').swap16()
  const diversifier = Buffer.alloc(block, 3)
  const parts = [diversifier, repeated(salt, block), repeated(password, block)]
  let digest = Buffer.concat(parts)
  for (let round = 0; round < rounds; round += 1) digest = hash('sha256', digest, 'buffer')
  return digest
}

/** Copies of `bytes` up to a multiple of `block` octets. */
function repeated(bytes: Buffer, block: number): Buffer {
  return Buffer.alloc(Math.ceil(bytes.length / block) * block, bytes)
}
