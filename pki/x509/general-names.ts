import type { DerReader } from '../der/reader.ts'
import { constructed, primitive } from '../der/tags.ts'
import { contextConstructed, contextPrimitive, oid } from '../der/writer.ts'
import { PkiError } from '../errors.ts'
import { readName } from '../names.ts'

/** GeneralName (RFC 5280 §4.2.1.6). Buffers are DER or raw octets as said. */
export type GeneralName =
  | { readonly type: 'other'; readonly oid: string; readonly value: Buffer /* DER */ }
  | { readonly type: 'email'; readonly value: string }
  | { readonly type: 'dns'; readonly value: string }
  | { readonly type: 'x400'; readonly value: Buffer /* DER content, not looked into */ }
  | { readonly type: 'directory'; readonly value: Buffer /* Name, DER */ }
  | { readonly type: 'ediParty'; readonly value: Buffer /* DER content, not looked into */ }
  | { readonly type: 'uri'; readonly value: string }
  | { readonly type: 'ip'; readonly value: Buffer /* 4 or 16 octets; twice that in constraints */ }
  | { readonly type: 'registeredId'; readonly value: string }

export const maxGeneralNames = 256

/**
 * Reads general names until the level ends. Throws PkiError `der` for none, for more than 256, for unknown
 * tags, and for control characters in text, which display code has mistaken for separators.
 */
export function readGeneralNames(names: DerReader): GeneralName[] {
  const found: GeneralName[] = []
  do {
    if (found.length >= maxGeneralNames) {
      throw new PkiError('der', 'Too many general names', names.offset)
    }
    found.push(readGeneralName(names))
  } while (!names.isDone())
  return found
}

export function readGeneralName(names: DerReader): GeneralName {
  const start = names.offset
  const tag = names.peek() ?? 0
  switch (tag) {
    case constructed(0):
      return readOtherName(names.enter(tag))
    case primitive(1):
      return { type: 'email', value: text(names.content(tag), start) }
    case primitive(2):
      return { type: 'dns', value: text(names.content(tag), start) }
    case constructed(3):
      return { type: 'x400', value: names.content(tag) }
    case constructed(4): {
      // Name is a CHOICE, so the tag is explicit (X.680 §31.2.7).
      const inner = names.enter(tag)
      const value = inner.raw()
      inner.finish()
      readName(value)
      return { type: 'directory', value }
    }
    case constructed(5):
      return { type: 'ediParty', value: names.content(tag) }
    case primitive(6):
      return { type: 'uri', value: text(names.content(tag), start) }
    case primitive(7):
      return { type: 'ip', value: addressOctets(names.content(tag), start) }
    case primitive(8):
      return { type: 'registeredId', value: names.oid(tag) }
    default:
      throw new PkiError('der', 'Not a general name', start)
  }
}

/** One GeneralName, DER. Throws PkiError `profile` for text that is empty or not visible ASCII. */
export function encodeGeneralName(name: GeneralName): Buffer {
  switch (name.type) {
    case 'other':
      return contextConstructed(0, oid(name.oid), contextConstructed(0, name.value))
    case 'email':
      return contextPrimitive(1, visible(name.value))
    case 'dns':
      return contextPrimitive(2, visible(name.value))
    case 'directory':
      return contextConstructed(4, name.value)
    case 'uri':
      return contextPrimitive(6, visible(name.value))
    case 'ip':
      return contextPrimitive(7, name.value)
    case 'registeredId': {
      const encoded = oid(name.value)
      return contextPrimitive(8, encoded.subarray(2))
    }
    case 'x400':
    case 'ediParty':
      throw new PkiError('profile', `General names of type ${name.type} are not written`)
    default:
      throw new PkiError('profile', 'Unknown type of general name')
  }
}

function readOtherName(inner: DerReader): GeneralName {
  const type = inner.oid()
  const wrapper = inner.enter(constructed(0))
  inner.finish()
  const value = wrapper.raw()
  wrapper.finish()
  return { type: 'other', oid: type, value }
}

/** IA5String content without control characters, and not empty. */
function text(content: Buffer, offset: number): string {
  const value = content.toString('latin1')
  if (!isVisible(value)) {
    throw new PkiError('der', 'General name is empty or not visible ASCII', offset)
  }
  return value
}

function visible(value: string): Buffer {
  if (!isVisible(value)) {
    throw new PkiError('profile', 'A general name is visible ASCII and not empty')
  }
  return Buffer.from(value, 'latin1')
}

function isVisible(value: string): boolean {
  return /^[\x20-\x7e]+$/.test(value)
}

function addressOctets(content: Buffer, offset: number): Buffer {
  // 8 and 32 octets are an address with its mask, in name constraints (RFC 5280 §4.2.1.10).
  if (![4, 8, 16, 32].includes(content.length)) {
    throw new PkiError('der', 'IP address of a wrong length', offset)
  }
  return content
}
