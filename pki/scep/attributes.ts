import type { CmsAttribute } from '../cms/signed-data-build.ts'
import type { CmsAttributes } from '../cms/signed-data.ts'
import { singleValue } from '../cms/signed-data.ts'
import type { DerReader } from '../der/reader.ts'
import { tags } from '../der/tags.ts'
import { octetString, printableString, utf8String } from '../der/writer.ts'
import { PkiError } from '../errors.ts'

/** Signed attributes of a pkiMessage, RFC 8894 §3.2.1. */
const types = {
  messageType: '2.16.840.1.113733.1.9.2',
  pkiStatus: '2.16.840.1.113733.1.9.3',
  failInfo: '2.16.840.1.113733.1.9.4',
  senderNonce: '2.16.840.1.113733.1.9.5',
  recipientNonce: '2.16.840.1.113733.1.9.6',
  transactionId: '2.16.840.1.113733.1.9.7',
  failInfoText: '1.3.6.1.5.5.7.24.1',
} as const

/** Message types of RFC 8894 §3.2.1.2 that exist here. UpdateReq (18) and every other number is refused. */
const messageTypes = {
  CertRep: '3',
  RenewalReq: '17',
  PKCSReq: '19',
  CertPoll: '20',
  GetCert: '21',
  GetCRL: '22',
} as const
export type ScepMessageType = keyof typeof messageTypes

/** RFC 8894 §3.2.1.3. */
const statuses = { success: '0', failure: '2', pending: '3' } as const
export type ScepStatus = keyof typeof statuses

/** RFC 8894 §3.2.1.4. */
const failures = {
  badAlg: '0',
  badMessageCheck: '1',
  badRequest: '2',
  badTime: '3',
  badCertId: '4',
} as const
export type ScepFailure = keyof typeof failures

export interface ScepAttributes {
  readonly messageType: ScepMessageType
  /** 1 to 128 characters of PrintableString, chosen by the client. */
  readonly transactionId: string
  /** 16 octets. */
  readonly senderNonce: Buffer
  /** 16 octets, in answers. */
  readonly recipientNonce?: Buffer | undefined
  readonly status?: ScepStatus | undefined
  readonly failure?: ScepFailure | undefined
  readonly failureText?: string | undefined
}

const nonceBytes = 16
const maxTransactionId = 128
const maxFailureText = 200

/** The attributes to sign. Throws PkiError `scep` for values that `readScepAttributes` would refuse. */
export function encodeScepAttributes(attributes: ScepAttributes): CmsAttribute[] {
  checkTransactionId(attributes.transactionId)
  const { status, failure, failureText, recipientNonce } = attributes
  return [
    { type: types.messageType, values: [printableString(messageTypes[attributes.messageType])] },
    { type: types.transactionId, values: [printableString(attributes.transactionId)] },
    { type: types.senderNonce, values: [octetString(checkNonce(attributes.senderNonce))] },
    ...(recipientNonce
      ? [{ type: types.recipientNonce, values: [octetString(checkNonce(recipientNonce))] }]
      : []),
    ...(status ? [{ type: types.pkiStatus, values: [printableString(statuses[status])] }] : []),
    ...(failure ? [{ type: types.failInfo, values: [printableString(failures[failure])] }] : []),
    ...(failureText === undefined
      ? []
      : [{ type: types.failInfoText, values: [utf8String(failureText)] }]),
  ]
}

/**
 * Reads them from a verified message. transactionID, messageType and senderNonce must be there, each once with one value of the
 * right type (RFC 8894 §3.2.1); others may.
 *
 * @throws PkiError `scep` for anything missing, malformed, or a message type or status that is not on the list
 */
export function readScepAttributes(attributes: CmsAttributes): ScepAttributes {
  const messageType = enumerated(messageTypes, printable(attributes, types.messageType))
  const transactionId = printable(attributes, types.transactionId)
  const senderNonce = nonce(attributes, types.senderNonce)
  if (!messageType) throw new PkiError('scep', 'The message type is missing or not supported')
  if (transactionId === undefined) throw new PkiError('scep', 'The transactionID is missing')
  if (!senderNonce) throw new PkiError('scep', 'The senderNonce is missing')
  checkTransactionId(transactionId)
  const status = printable(attributes, types.pkiStatus)
  const failure = printable(attributes, types.failInfo)
  return {
    messageType,
    transactionId,
    senderNonce,
    recipientNonce: nonce(attributes, types.recipientNonce),
    status: status === undefined ? undefined : known(statuses, status, 'pkiStatus'),
    failure: failure === undefined ? undefined : known(failures, failure, 'failInfo'),
    failureText: text(attributes, types.failInfoText)?.value,
  }
}

function enumerated<K extends string>(
  list: Readonly<Record<K, string>>,
  value: string | undefined,
): K | undefined {
  for (const name in list) if (list[name] === value) return name
  return undefined
}

function known<K extends string>(list: Readonly<Record<K, string>>, value: string, what: string) {
  const name = enumerated(list, value)
  if (!name) throw new PkiError('scep', `Unknown ${what}`)
  return name
}

function text(attributes: CmsAttributes, type: string): { tag: number; value: string } | undefined {
  const reader = singleValue(attributes, type)
  if (!reader) return undefined
  const read = reader.string()
  if (read.value.length > maxFailureText) throw new PkiError('scep', 'An attribute is too long')
  return read
}

function printable(attributes: CmsAttributes, type: string): string | undefined {
  const read = text(attributes, type)
  if (read && read.tag !== tags.printableString) {
    throw new PkiError('scep', `Attribute ${type} is not a PrintableString`)
  }
  return read?.value
}

function nonce(attributes: CmsAttributes, type: string): Buffer | undefined {
  const reader: DerReader | undefined = singleValue(attributes, type)
  return reader && checkNonce(reader.content(tags.octetString))
}

function checkNonce(value: Buffer): Buffer {
  if (value.length !== nonceBytes) throw new PkiError('scep', 'A nonce has 16 octets')
  return value
}

function checkTransactionId(value: string): void {
  if (value.length === 0 || value.length > maxTransactionId) {
    throw new PkiError('scep', `A transactionID has 1 to ${maxTransactionId} characters`)
  }
}
