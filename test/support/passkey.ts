import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'

const userPresent = 0x01
const userVerified = 0x04
const attestedData = 0x40

/** What a passkey is asked, as the server sends it. */
interface Question {
  challenge: string
  /** Of a new passkey. */
  user?: { id: string }
}

/** Where an answer departs from what an honest authenticator in an honest browser says. */
export interface Lies {
  /** Of the page, as the browser writes it down. */
  origin?: string
  rpId?: string
  /** Without a finger, a face or a PIN. */
  isUnverified?: boolean
  /** That the key has signed so often. */
  counter?: number
  type?: string
  userHandle?: string
  /** The page is a frame of another one. */
  isCrossOrigin?: boolean
}

/** An authenticator with one key (WebAuthn level 3, section 6), and the browser around it. */
export class SoftPasskey {
  readonly id = randomBytes(32)
  readonly #origin: string
  readonly #keys: { privateKey: KeyObject; publicKey: KeyObject }
  #userHandle: string | undefined
  counter = 0

  constructor(origin: string) {
    this.#origin = origin
    this.#keys = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  }

  /** The answer of `navigator.credentials.create`. */
  create({ challenge, user }: Question, lies: Lies = {}): object {
    this.#userHandle ??= user?.id
    const client = this.#client('webauthn.create', challenge, lies)
    const length = Buffer.alloc(2)
    length.writeUInt16BE(this.id.length)
    const credential = Buffer.concat([Buffer.alloc(16), length, this.id, this.#cose()])
    const data = Buffer.concat([this.#data(lies, attestedData), credential])
    // {"fmt": "none", "attStmt": {}, "authData": …}
    const attestation = Buffer.concat([
      Buffer.from('a363666d74646e6f6e656761747453746d74a068617574684461746159', 'hex'),
      Buffer.from([data.length >> 8, data.length & 0xff]),
      data,
    ])
    return this.#credential({
      attestationObject: attestation.toString('base64url'),
      clientDataJSON: client.toString('base64url'),
      transports: ['internal'],
    })
  }

  /** The answer of `navigator.credentials.get`; the key counts one more. */
  get({ challenge }: Question, lies: Lies = {}): object {
    this.counter = lies.counter ?? this.counter + 1
    const client = this.#client('webauthn.get', challenge, lies)
    const data = this.#data(lies, 0)
    const signed = Buffer.concat([data, createHash('sha256').update(client).digest()])
    const userHandle = lies.userHandle ?? this.#userHandle
    return this.#credential({
      authenticatorData: data.toString('base64url'),
      clientDataJSON: client.toString('base64url'),
      signature: sign('sha256', signed, this.#keys.privateKey).toString('base64url'),
      ...(userHandle === undefined ? {} : { userHandle }),
    })
  }

  #client(type: string, challenge: string, lies: Lies): Buffer {
    return Buffer.from(
      JSON.stringify({
        type: lies.type ?? type,
        challenge,
        origin: lies.origin ?? this.#origin,
        crossOrigin: lies.isCrossOrigin ?? false,
      }),
    )
  }

  #data(lies: Lies, flags: number): Buffer {
    const rpId = lies.rpId ?? new URL(this.#origin).hostname
    const verified = lies.isUnverified === true ? 0 : userVerified
    const counter = Buffer.alloc(4)
    counter.writeUInt32BE(this.counter)
    return Buffer.concat([
      createHash('sha256').update(rpId).digest(),
      Buffer.from([userPresent | verified | flags]),
      counter,
    ])
  }

  /** ES256 on P-256 (RFC 9053 section 2.1). */
  #cose(): Buffer {
    const { x = '', y = '' } = this.#keys.publicKey.export({ format: 'jwk' })
    return Buffer.concat([
      Buffer.from('a5010203262001215820', 'hex'),
      Buffer.from(x, 'base64url'),
      Buffer.from('225820', 'hex'),
      Buffer.from(y, 'base64url'),
    ])
  }

  #credential(response: object): object {
    const id = this.id.toString('base64url')
    return { id, rawId: id, type: 'public-key', clientExtensionResults: {}, response }
  }
}
