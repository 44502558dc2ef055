import { oids } from './der/oids.ts'
import { DerReader } from './der/reader.ts'
import { tags } from './der/tags.ts'
import { oid, printableString, sequence, setOf, utf8String } from './der/writer.ts'
import { PkiError } from './errors.ts'

export interface NameFields {
  commonName?: string
  organization?: string
  serialNumber?: string
}

export interface NameAttribute {
  readonly oid: string
  readonly value: string
  /** Tag of the string type the value came in. */
  readonly tag: number
}

/** RFC 5280 appendix A: ub-common-name, ub-organization-name, ub-serial-number; in characters. */
const maxCharacters = 64
const maxAttributes = 64

/** The types of DirectoryString, and those of single attributes: serialNumber, emailAddress, x121Address. */
const nameStrings: readonly number[] = [
  tags.utf8String,
  tags.printableString,
  tags.teletexString,
  tags.bmpString,
  tags.ia5String,
  tags.numericString,
]

/** Control characters, and those that turn the direction of text, fake what an operator reads. */
const deceptive = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]/u

/**
 * A Name (RFC 5280 §4.1.2.4): O, CN, serialNumber in this order, one attribute each, those that are
 * given. O and CN are UTF8String, serialNumber is PrintableString. No field at all gives the empty name.
 *
 * @throws PkiError `profile` for empty or too long fields, control characters and direction overrides
 */
export function encodeName({ commonName, organization, serialNumber }: NameFields): Buffer {
  const attributes: Buffer[] = []
  if (organization !== undefined) {
    attributes.push(attribute(oids.organization, utf8String(checked(organization))))
  }
  if (commonName !== undefined) {
    attributes.push(attribute(oids.commonName, utf8String(checked(commonName))))
  }
  if (serialNumber !== undefined) {
    attributes.push(attribute(oids.serialNumber, printable(checked(serialNumber))))
  }
  return sequence(...attributes)
}

/**
 * The attributes of a Name in order, for showing and for matching single values. Names themselves are
 * compared as bytes (pki.md 1.2), never by what this gives.
 *
 * @throws PkiError `der`
 */
export function readName(der: Buffer): NameAttribute[] {
  const reader = new DerReader(der)
  const names = reader.enter(tags.sequence)
  reader.finish()
  const attributes: NameAttribute[] = []
  while (!names.isDone()) {
    const relative = names.enter(tags.set)
    do {
      if (attributes.length >= maxAttributes) {
        throw new PkiError('der', 'Too many attributes in a name', relative.offset)
      }
      const pair = relative.enter(tags.sequence)
      const type = pair.oid()
      const start = pair.offset
      const { tag, value } = pair.string()
      pair.finish()
      if (!nameStrings.includes(tag)) {
        throw new PkiError('der', 'A string type that names do not have', start)
      }
      attributes.push({ oid: type, value, tag })
    } while (!relative.isDone())
  }
  return attributes
}

function attribute(type: string, value: Buffer): Buffer {
  return setOf(sequence(oid(type), value))
}

function checked(text: string): string {
  // ASN.1 counts code points.
  const characters = Array.from(text).length
  if (characters === 0 || characters > maxCharacters) {
    throw new PkiError('profile', `A name has 1 to ${maxCharacters} characters`)
  }
  if (!text.isWellFormed() || deceptive.test(text)) {
    throw new PkiError('profile', 'A name with control or direction characters')
  }
  return text
}

function printable(text: string): Buffer {
  try {
    return printableString(text)
  } catch (error) {
    const message = 'A serial number is a PrintableString'
    throw new PkiError('profile', message, undefined, { cause: error })
  }
}
