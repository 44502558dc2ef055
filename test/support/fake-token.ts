import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

import { octetString } from '../../pki/der/writer.ts'
import { publicKeyOctets, spkiOf } from '../../pki/keys.ts'
import {
  ck,
  type Handle,
  type LibraryLoader,
  type Pkcs11Library,
} from '../../pki/pkcs11-binding.ts'
import type { Pkcs11Access } from '../../pki/pkcs11.ts'

class CkError extends Error {
  readonly code: number

  constructor(message: string) {
    super(message)
    this.code = Number(/:(\d+)/.exec(message)?.[1] ?? 5)
  }
}

/** What a PKCS #11 library does with one token and one Ed25519 key, with faults to order. */
export class FakeToken {
  readonly pin = '1234'
  readonly #key: KeyObject = generateKeyPairSync('ed25519').privateKey
  readonly spki = spkiOf(this.#key)
  readonly logins: string[] = []
  readonly #sessions = new Set<string>()
  #next = 0
  signatures = 0
  /** Objects. */
  destroyed = 0
  mostOpen = 0
  isFaulty = false
  isAway = false
  failure: string | undefined
  #elapsed = 0

  access(): Pkcs11Access {
    return {
      uri: 'pkcs11:token=fleet;object=key',
      modulePath: `/fake.so`,
      pin: () => this.pin,
      load: this.#load,
      now: () => this.#elapsed,
    }
  }

  /** Until the next attempt is allowed after a failure. */
  passTime(): void {
    this.#elapsed += 10_000
  }

  readonly #load: LibraryLoader = async () => this.#library()

  #check(session: Handle): void {
    if (this.failure !== undefined) throw new CkError(this.failure)
    if (this.isAway || !this.#sessions.has(session.toString('hex'))) {
      throw new CkError('CKR_SESSION_HANDLE_INVALID:179')
    }
  }

  #library(): Pkcs11Library {
    return {
      C_Initialize: () => {},
      C_Finalize: () => this.#sessions.clear(),
      C_GetSlotList: () => (this.isAway ? [] : [Buffer.from([1])]),
      C_GetTokenInfo: () => ({ label: 'fleet'.padEnd(32), serialNumber: '01' }),
      C_OpenSession: () => {
        const session = Buffer.alloc(8)
        session.writeUInt32LE((this.#next += 1))
        this.#sessions.add(session.toString('hex'))
        this.mostOpen = Math.max(this.mostOpen, this.#sessions.size)
        return session
      },
      C_CloseSession: (session) => void this.#sessions.delete(session.toString('hex')),
      C_Login: (_session, _user, pin) => {
        this.logins.push(pin)
        if (pin !== this.pin) throw new CkError('CKR_PIN_INCORRECT:160')
      },
      C_FindObjectsInit: (session) => this.#check(session),
      C_FindObjects: () => [Buffer.from([7])],
      C_FindObjectsFinal: () => {},
      C_GetAttributeValue: (_session, _object, [attribute]) => [
        { type: attribute?.type ?? 0, value: this.#attribute(attribute?.type) },
      ],
      C_GenerateKeyPairAsync: async () => {
        throw new CkError('CKR_FUNCTION_NOT_SUPPORTED:84')
      },
      C_SignInit: (session) => this.#check(session),
      C_SignAsync: async (session, data) => {
        this.#check(session)
        this.signatures += 1
        await new Promise((resolve) => setImmediate(resolve))
        return sign(null, this.isFaulty ? Buffer.from('another') : data, this.#key)
      },
      C_DestroyObject: () => void (this.destroyed += 1),
    }
  }

  #attribute(type: number | undefined): Buffer {
    switch (type) {
      case ck.attribute.keyType:
        return Buffer.from([ck.keyType.edwards, 0, 0, 0])
      case ck.attribute.ecParams:
        return Buffer.from('130c656477617264733235353139', 'hex')
      case ck.attribute.ecPoint:
        return octetString(publicKeyOctets(this.spki))
      case undefined:
      default:
        return Buffer.alloc(0)
    }
  }
}
