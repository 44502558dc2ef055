import { maxDepth } from './canonical.ts'
import { MetadataError } from './errors.ts'

export type JsonValue = string | number | boolean | JsonValue[] | JsonObject
/** Without prototype, so that `constructor` is a name like any other. */
export interface JsonObject {
  [name: string]: JsonValue
}

/** Printable ASCII without quote and backslash: the one form of a string in metadata (updates.md 2.1). */
export const plainText = /^[ !#-[\]-~]*$/

interface Cursor {
  readonly text: string
  at: number
}

/**
 * Reads one JSON value by the rules of updates.md 2.1: at most `maxBytes` bytes, nesting at most 32 (asked before every
 * step down), unique names, plain strings without escapes, safe integers ≥ 0, no null, nothing before or after.
 * White space is allowed: what counts is the canonical form. Throws MetadataError.
 */
export function parseStrict(bytes: Buffer, maxBytes: number): JsonValue {
  if (bytes.length > maxBytes) {
    throw new MetadataError('too-large', `${bytes.length} bytes, at most ${maxBytes} are allowed`)
  }
  // One character per byte: a BOM or any non-ASCII byte is just a character no rule accepts.
  const cursor = { text: bytes.toString('latin1'), at: 0 }
  const value = parseValue(cursor, 1)
  skipSpace(cursor)
  if (cursor.at !== cursor.text.length) throw unexpected(cursor)
  return value
}

function parseValue(cursor: Cursor, depth: number): JsonValue {
  skipSpace(cursor)
  const first = cursor.text[cursor.at]
  if (first === '{') return parseObject(cursor, depth)
  if (first === '[') return parseArray(cursor, depth)
  if (first === '"') return parseString(cursor)
  if (first === 't') return parseWord(cursor, 'true', true)
  if (first === 'f') return parseWord(cursor, 'false', false)
  return parseInteger(cursor)
}

function parseObject(cursor: Cursor, depth: number): JsonObject {
  if (depth > maxDepth) throw new MetadataError('too-deep', `Nested deeper than ${maxDepth}`)
  const object: JsonObject = Object.create(null)
  cursor.at += 1
  if (take(cursor, '}')) return object
  do {
    skipSpace(cursor)
    const name = parseString(cursor)
    // Nothing of ours is called so, and somebody's later copy of this object could be an ordinary one.
    if (name === '__proto__') throw new MetadataError('syntax', 'A member is called __proto__')
    if (Object.hasOwn(object, name)) throw new MetadataError('syntax', `${name} appears twice`)
    expect(cursor, ':')
    object[name] = parseValue(cursor, depth + 1)
  } while (take(cursor, ','))
  expect(cursor, '}')
  return object
}

function parseArray(cursor: Cursor, depth: number): JsonValue[] {
  if (depth > maxDepth) throw new MetadataError('too-deep', `Nested deeper than ${maxDepth}`)
  const items: JsonValue[] = []
  cursor.at += 1
  if (take(cursor, ']')) return items
  do {
    items.push(parseValue(cursor, depth + 1))
  } while (take(cursor, ','))
  expect(cursor, ']')
  return items
}

function parseString(cursor: Cursor): string {
  const end = cursor.text[cursor.at] === '"' ? cursor.text.indexOf('"', cursor.at + 1) : -1
  if (end < 0) throw unexpected(cursor)
  const value = cursor.text.slice(cursor.at + 1, end)
  if (!plainText.test(value)) {
    throw new MetadataError('syntax', `The string at ${cursor.at} is not printable ASCII`)
  }
  cursor.at = end + 1
  return value
}

function parseInteger(cursor: Cursor): number {
  const integer = /(?:0|[1-9][0-9]{0,15})(?![0-9.eE])/y
  integer.lastIndex = cursor.at
  const digits = integer.exec(cursor.text)?.[0]
  if (digits === undefined) throw unexpected(cursor)
  const value = Number(digits)
  if (!Number.isSafeInteger(value)) throw unexpected(cursor)
  cursor.at += digits.length
  return value
}

function parseWord(cursor: Cursor, word: string, value: boolean): boolean {
  if (!cursor.text.startsWith(word, cursor.at)) throw unexpected(cursor)
  cursor.at += word.length
  return value
}

function skipSpace(cursor: Cursor): void {
  while (' \t\r\n'.includes(cursor.text[cursor.at] ?? '?')) cursor.at += 1
}

function take(cursor: Cursor, character: string): boolean {
  skipSpace(cursor)
  if (cursor.text[cursor.at] !== character) return false
  cursor.at += 1
  return true
}

function expect(cursor: Cursor, character: string): void {
  if (!take(cursor, character)) throw unexpected(cursor)
}

function unexpected(cursor: Cursor): MetadataError {
  return new MetadataError('syntax', `Not the JSON of metadata at byte ${cursor.at}`)
}
