import { type KeyObject, sign } from 'node:crypto'

import { oids } from '../../../pki/der/oids.ts'
import { encodeTime } from '../../../pki/der/time.ts'
import {
  bitString,
  contextConstructed,
  integer,
  octetString,
  oid,
  sequence,
} from '../../../pki/der/writer.ts'
import { generatePrivateKey, keyIdentifier, spkiOf } from '../../../pki/keys.ts'
import { encodeName } from '../../../pki/names.ts'
import type { PathFailure } from '../../../pki/path-validate.ts'
import { encodeExtension } from '../../../pki/x509/extension-writer.ts'
import { encodeGeneralName, type GeneralName } from '../../../pki/x509/general-names.ts'
import { newSerial } from '../../../pki/x509/issue.ts'
import { daysFrom, ecdsaWithSha256, now } from '../pki-fixture.ts'

/** A certificate that may be wrong in any way, with the key that signs below it. */
export interface Made {
  der: Buffer
  key: KeyObject
  subject: Buffer
}

export interface Constraints {
  permitted?: GeneralName[]
  excluded?: GeneralName[]
  critical?: boolean
}

export interface Change {
  subject?: Buffer
  issuer?: Buffer
  serial?: Buffer
  notBefore?: Date
  notAfter?: Date
  key?: KeyObject
  san?: GeneralName[]
  names?: Constraints
  pathLength?: number
  /** Extensions by OID that replace or join the usual ones; undefined leaves one out. */
  extensions?: Record<string, [critical: boolean, value: Buffer] | undefined>
  /** Whole Extension elements after the others. */
  more?: Buffer[]
  innerAlgorithm?: Buffer
}

export interface Chain {
  chain: readonly Made[]
  anchors: readonly Made[]
  at?: Date
}

/**
 * One case of x509-limbo, made again by its description.
 *
 * `valid` and reasons are what limbo and we say. Where we differ, `why` says so: stricter with a reason of ours, or
 * `valid` where limbo wants a refusal.
 */
export interface LimboCase {
  id: string
  expected: PathFailure | 'valid'
  build: () => Chain
  why?: string
}

let count = 0
export const commonName = (text: string) => encodeName({ commonName: text })
export const dns = (value: string): GeneralName => ({ type: 'dns', value })
export const email = (value: string): GeneralName => ({ type: 'email', value })
export const ip = (hex: string): GeneralName => ({ type: 'ip', value: Buffer.from(hex, 'hex') })
export const directory = (text: string): GeneralName => ({
  type: 'directory',
  value: commonName(text),
})
export const otherName: GeneralName = {
  type: 'other',
  oid: '1.3.6.1.4.1.55738.666.1',
  value: Buffer.from('0500', 'hex'),
}

export function root(change: Change = {}): Made {
  return make(undefined, change, {
    [oids.basicConstraints]: [true, caConstraints(change.pathLength)],
    [oids.keyUsage]: [true, Buffer.from('03020106', 'hex')],
  })
}

export function ca(by: Made, change: Change = {}): Made {
  return make(by, change, {
    [oids.basicConstraints]: [true, caConstraints(change.pathLength)],
    [oids.keyUsage]: [true, Buffer.from('03020106', 'hex')],
  })
}

export function leaf(by: Made, change: Change = {}): Made {
  return make(
    by,
    { san: [dns('example.com')], ...change },
    {
      [oids.basicConstraints]: [true, Buffer.from('3000', 'hex')],
      [oids.keyUsage]: [true, Buffer.from('03020780', 'hex')],
      [oids.extKeyUsage]: [false, sequence(oid(oids.clientAuth))],
    },
  )
}

export function caConstraints(pathLength?: number): Buffer {
  const isCa = Buffer.from('0101ff', 'hex')
  return pathLength === undefined ? sequence(isCa) : sequence(isCa, integer(pathLength))
}

function make(by: Made | undefined, change: Change, usual: Change['extensions'] = {}): Made {
  const key = change.key ?? generatePrivateKey('P-256')
  count += 1
  const subject = change.subject ?? commonName(`Limbo ${count}`)
  const issuer = change.issuer ?? by?.subject ?? subject
  const own: Required<Change>['extensions'] = {
    ...usual,
    [oids.subjectKeyIdentifier]: [false, octetString(keyIdentifier(spkiOf(key)))],
    ...(by && { [oids.authorityKeyIdentifier]: [false, authorityKeyId(by.key)] }),
    ...(change.san && { [oids.subjectAltName]: [isEmpty(subject), names(change.san)] }),
    ...(change.names && {
      [oids.nameConstraints]: [change.names.critical ?? true, constraints(change.names)],
    }),
    ...change.extensions,
  }
  const extensions = Object.entries(own).flatMap(([type, one]) =>
    one ? [encodeExtension(type, ...one)] : [],
  )
  const validity = sequence(
    encodeTime(change.notBefore ?? daysFrom(now, -1)),
    encodeTime(change.notAfter ?? daysFrom(now, 30)),
  )
  const tbs = sequence(
    contextConstructed(0, integer(2)),
    change.serial ?? integer(newSerial()),
    change.innerAlgorithm ?? ecdsaWithSha256,
    issuer,
    validity,
    subject,
    spkiOf(key),
    contextConstructed(3, sequence(...extensions, ...(change.more ?? []))),
  )
  const signature = sign('sha256', tbs, by?.key ?? key)
  return { der: sequence(tbs, ecdsaWithSha256, bitString(signature)), key, subject }
}

function isEmpty(name: Buffer): boolean {
  return name.length === 2
}

function authorityKeyId(key: KeyObject): Buffer {
  const keyId = keyIdentifier(spkiOf(key))
  return sequence(Buffer.concat([Buffer.from([0x80, keyId.length]), keyId]))
}

export function names(list: readonly GeneralName[]): Buffer {
  return sequence(...list.map(encodeGeneralName))
}

export function constraints({ permitted, excluded }: Constraints): Buffer {
  const subtrees = (list: readonly GeneralName[]) =>
    list.map((name) => sequence(encodeGeneralName(name)))
  return sequence(
    ...(permitted ? [contextConstructed(0, ...subtrees(permitted))] : []),
    ...(excluded ? [contextConstructed(1, ...subtrees(excluded))] : []),
  )
}

/** Root, then CAs as given from the top, then the leaf. */
export function line(top: Change, cas: readonly Change[], end: Change = {}): Chain {
  const anchor = root(top)
  const down = [anchor]
  for (const one of cas) down.push(ca(down.at(-1) ?? anchor, one))
  const last = leaf(down.at(-1) ?? anchor, end)
  return { chain: [last, ...down.slice(1).toReversed()], anchors: [anchor] }
}
