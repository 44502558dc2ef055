import { MetadataError } from './errors.ts'
import type { JsonObject, JsonValue } from './json.ts'

/*
 * Checks the shape of parsed metadata in place: a check returns, or throws MetadataError. Members no check names are
 * kept as they are, because they are signed (updates.md 2.1).
 */
export type Check = (value: JsonValue | undefined, where: string) => void

export function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && !Array.isArray(value)
}

/** Names come from files and messages: `constructor` is a name like any other. */
export function ownEntry<T>(object: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(object, name) ? object[name] : undefined
}

export const text =
  (pattern = /^/, maxLength = 512): Check =>
  (value, where) => {
    if (typeof value !== 'string' || value.length > maxLength || !pattern.test(value)) {
      throw wrong(where, 'is not the text expected here')
    }
  }

export const oneOf =
  (...values: (string | boolean)[]): Check =>
  (value, where) => {
    if (values.every((allowed) => allowed !== value)) {
      throw wrong(where, `is none of ${values.join(', ')}`)
    }
  }

export const integer =
  (least = 0): Check =>
  (value, where) => {
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < least) {
      throw wrong(where, `is not an integer of at least ${least}`)
    }
  }

export const flag: Check = oneOf(true, false)

export const list =
  (item: Check, { least = 0, most = 64 } = {}): Check =>
  (value, where) => {
    if (!Array.isArray(value) || value.length < least || value.length > most) {
      throw wrong(where, `is not a list of ${least} to ${most}`)
    }
    value.forEach((entry, index) => item(entry, `${where}[${index}]`))
  }

/** A list in which nothing stands twice. */
export const distinct =
  (check: Check): Check =>
  (value, where) => {
    check(value, where)
    if (Array.isArray(value) && new Set(value).size !== value.length) {
      throw wrong(where, 'names something twice')
    }
  }

export const optional =
  (check: Check): Check =>
  (value, where) => {
    if (value !== undefined) check(value, where)
  }

/** An object by known names; others are left alone. */
export const object =
  (members: Record<string, Check>): Check =>
  (value, where) => {
    if (!isObject(value)) throw wrong(where, 'is not an object')
    for (const [name, check] of Object.entries(members)) {
      check(Object.hasOwn(value, name) ? value[name] : undefined, `${where}.${name}`)
    }
  }

/** An object whose names are data. */
export const record =
  (member: Check, { least = 0, most = 1024, names = /^/ } = {}): Check =>
  (value, where) => {
    if (!isObject(value)) throw wrong(where, 'is not an object')
    const entries = Object.entries(value)
    if (entries.length < least || entries.length > most) {
      throw wrong(where, `has not ${least} to ${most} members`)
    }
    for (const [name, entry] of entries) {
      if (!names.test(name)) throw wrong(where, `has a member it must not have: ${name}`)
      member(entry, `${where}.${name}`)
    }
  }

function wrong(where: string, what: string): MetadataError {
  return new MetadataError('shape', `${where} ${what}`)
}
