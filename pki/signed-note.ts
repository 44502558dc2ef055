import { createHash, createPublicKey, type KeyObject, sign, verify } from 'node:crypto'

import { isLowOrderEd25519 } from './ed25519.ts'
import { PkiError } from './errors.ts'

/*
 * Signed notes as C2SP specifies them (c2sp.org/signed-note): text that ends in a newline, an empty line, and a line for each signature, `— NAME
 * BASE64(key id ‖ signature)`. Ed25519 (RFC 8032) alone. People can read them, keep them in a mail, and check them with openssl.
 */

const algorithm = 0x01
const keyIdBytes = 4
const signatureBytes = 64
const maxNoteBytes = 16_384
const maxSignatures = 16
const spkiHead = Buffer.from('302a300506032b6570032100', 'hex')

/** A public key with the name it signs under. The id is what tells two keys of one name apart. */
export interface NoteKey {
  name: string
  /** Raw, 32 bytes. */
  publicKey: Buffer
}

/** The first 4 bytes of SHA-256 over name, newline, 0x01 and the key, in hex. */
export function noteKeyId({ name, publicKey }: NoteKey): string {
  return createHash('sha256')
    .update(`${name}\n`)
    .update(Buffer.from([algorithm]))
    .update(publicKey)
    .digest()
    .subarray(0, keyIdBytes)
    .toString('hex')
}

/** As it is handed on: `NAME+ID+BASE64(0x01 ‖ key)`. */
export function noteKeyText(key: NoteKey): string {
  const bytes = Buffer.concat([Buffer.from([algorithm]), key.publicKey])
  return `${key.name}+${noteKeyId(key)}+${bytes.toString('base64')}`
}

/**
 * Reads what `noteKeyText` wrote.
 *
 * @throws PkiError `key`
 */
export function parseNoteKey(text: string): NoteKey {
  const [, name = '', id, encoded = ''] =
    /^([\w./:-]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{44})$/.exec(text.trim()) ?? []
  const bytes = Buffer.from(encoded, 'base64')
  const key = { name, publicKey: bytes.subarray(1) }
  const isWhole = bytes.length === 33 && bytes[0] === algorithm && noteKeyId(key) === id
  if (!isWhole || isLowOrderEd25519(key.publicKey)) {
    throw new PkiError('key', 'This is not the key of a log: NAME+ID+KEY')
  }
  return key
}

/** Raw bytes of an Ed25519 public key. */
export function rawPublicKey(key: KeyObject): Buffer {
  return key.export({ format: 'der', type: 'spki' }).subarray(spkiHead.length)
}

/** @param text ends in a newline, and holds no empty line */
export function signNote(text: string, name: string, privateKey: KeyObject): string {
  checkText(text)
  const key = { name, publicKey: rawPublicKey(createPublicKey(privateKey)) }
  const bytes = Buffer.concat([
    Buffer.from(noteKeyId(key), 'hex'),
    sign(null, Buffer.from(text), privateKey),
  ])
  return `${text}\n— ${name} ${bytes.toString('base64')}\n`
}

export interface OpenedNote {
  /** What was signed, with its last newline. */
  text: string
  /** The keys of those given whose signature holds. */
  signers: NoteKey[]
  /** Names and ids of signatures by keys that were not given. */
  unknown: { name: string; id: string }[]
}

/**
 * Reads a note and verifies it by the keys that are given.
 *
 * @throws PkiError `key` when it is no note, or a signature by one of the keys does not hold
 */
export function openNote(note: string, keys: readonly NoteKey[]): OpenedNote {
  const { text, lines } = splitNote(note)
  const known = new Map(keys.map((key) => [`${key.name} ${noteKeyId(key)}`, key]))
  const signers: NoteKey[] = []
  const unknown: OpenedNote['unknown'] = []
  for (const line of lines) {
    const [, name = '', encoded = ''] =
      /^— ([\w./:-]{1,200}) ([A-Za-z0-9+/]{90}[A-Za-z0-9+/=]{2})$/.exec(line) ?? []
    const bytes = Buffer.from(encoded, 'base64')
    if (bytes.length !== keyIdBytes + signatureBytes) throw malformed()
    const id = bytes.subarray(0, keyIdBytes).toString('hex')
    const key = known.get(`${name} ${id}`)
    if (!key) unknown.push({ name, id })
    else if (verifies(text, key, bytes.subarray(keyIdBytes))) signers.push(key)
    else throw new PkiError('key', `The signature by ${name} (${id}) does not hold`)
  }
  return { text, signers, unknown }
}

function verifies(text: string, { publicKey }: NoteKey, signature: Buffer): boolean {
  const der = Buffer.concat([spkiHead, publicKey])
  const key = createPublicKey({ key: der, format: 'der', type: 'spki' })
  return verify(null, Buffer.from(text), key, signature)
}

function splitNote(note: string): { text: string; lines: string[] } {
  if (Buffer.byteLength(note) > maxNoteBytes) throw malformed()
  const at = note.lastIndexOf('\n\n')
  const text = note.slice(0, at + 1)
  const lines = note.slice(at + 2).split('\n')
  const isWhole = at > 0 && lines.pop() === '' && lines.length > 0 && lines.length <= maxSignatures
  if (!isWhole) throw malformed()
  checkText(text)
  return { text, lines }
}

function checkText(text: string): void {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  const isFine = text.endsWith('\n') && !/\n\n|[\u0000-\u0009\u000b-\u001f\u007f]/.test(text)
  if (!isFine || !text.isWellFormed()) throw malformed()
}

function malformed(): PkiError {
  return new PkiError('key', 'This is not a signed note')
}
