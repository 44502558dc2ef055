import { PkiError } from '../errors.ts'
import { tags } from './tags.ts'

const firstGeneralizedYear = 2050
const firstUtcYear = 1950

/** Most octets `writeTime` writes: a GeneralizedTime with its header. */
export const maxTimeBytes = 17

/**
 * RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050, always in UTC with seconds and
 * never with a fraction. Milliseconds are cut off.
 */
export function encodeTime(at: Date): Buffer {
  const target = Buffer.alloc(maxTimeBytes)
  return target.subarray(0, writeTime(target, 0, at))
}

/** RFC 6960 §4.2.2.1: OCSP has GeneralizedTime for every year, without a fraction all the same. */
export function encodeGeneralizedTime(at: Date): Buffer {
  const target = Buffer.alloc(maxTimeBytes)
  return target.subarray(0, writeTime(target, 0, at, false))
}

/**
 * Writes what `encodeTime` gives into `target` and returns the offset behind it. The only writer of times in
 * this library, so that nothing else can differ. Throws PkiError `der` outside the years 1950 to 9999.
 */
export function writeTime(
  target: Buffer,
  offset: number,
  at: Date,
  isUtcAllowed: boolean = true,
): number {
  const year = at.getUTCFullYear()
  if (!(year >= firstUtcYear && year <= 9999)) {
    throw new PkiError('der', 'A time must lie between the years 1950 and 9999')
  }
  const isUtc = isUtcAllowed && year < firstGeneralizedYear
  target[offset] = isUtc ? tags.utcTime : tags.generalizedTime
  target[offset + 1] = isUtc ? 13 : 15
  let end = offset + 2
  if (!isUtc) end = writeTwoDigits(target, end, Math.floor(year / 100))
  end = writeTwoDigits(target, end, year % 100)
  end = writeTwoDigits(target, end, at.getUTCMonth() + 1)
  end = writeTwoDigits(target, end, at.getUTCDate())
  end = writeTwoDigits(target, end, at.getUTCHours())
  end = writeTwoDigits(target, end, at.getUTCMinutes())
  end = writeTwoDigits(target, end, at.getUTCSeconds())
  target[end] = 0x5a
  return end + 1
}

function writeTwoDigits(target: Buffer, offset: number, value: number): number {
  const tens = Math.floor(value / 10)
  target[offset] = 0x30 + tens
  target[offset + 1] = 0x30 + value - tens * 10
  return offset + 2
}

/**
 * Reads the content of a UTCTime (`YYMMDDHHMMSSZ`) or GeneralizedTime (`YYYYMMDDHHMMSSZ`).
 * Throws PkiError `der` for offsets, fractions, missing seconds and dates that do not exist.
 */
export function decodeTime(tag: number, content: Buffer, offset: number): Date {
  const yearDigits = tag === tags.utcTime ? 2 : 4
  const isZulu = content[content.length - 1] === 0x5a
  if (content.length !== yearDigits + 11 || !isZulu || !hasDigits(content, yearDigits + 10)) {
    throw new PkiError('der', 'Malformed time', offset)
  }
  const short = twoDigits(content, 0)
  const year =
    yearDigits === 4 ? short * 100 + twoDigits(content, 2) : short + (short >= 50 ? 1900 : 2000)
  const month = twoDigits(content, yearDigits)
  const day = twoDigits(content, yearDigits + 2)
  const hour = twoDigits(content, yearDigits + 4)
  const minute = twoDigits(content, yearDigits + 6)
  const second = twoDigits(content, yearDigits + 8)
  const at = new Date(0)
  at.setUTCFullYear(year, month - 1, day)
  at.setUTCHours(hour, minute, second)
  // Date rolls 31 April, 24:00 and leap seconds over; reading it back shows it.
  const exists =
    at.getUTCFullYear() === year &&
    at.getUTCMonth() === month - 1 &&
    at.getUTCDate() === day &&
    at.getUTCHours() === hour &&
    at.getUTCMinutes() === minute &&
    at.getUTCSeconds() === second
  if (!exists) throw new PkiError('der', 'A time that does not exist', offset)
  return at
}

function hasDigits(content: Buffer, count: number): boolean {
  for (let at = 0; at < count; at++) {
    const byte = content[at] ?? 0
    if (byte < 0x30 || byte > 0x39) return false
  }
  return true
}

function twoDigits(content: Buffer, at: number): number {
  return ((content[at] ?? 0) - 0x30) * 10 + (content[at + 1] ?? 0) - 0x30
}

/** RFC 5280 §4.1.2.5: a GeneralizedTime before 2050 has a second spelling and is refused. */
export function decodeCertificateTime(tag: number, content: Buffer, offset: number): Date {
  const at = decodeTime(tag, content, offset)
  if (tag === tags.generalizedTime && at.getUTCFullYear() < firstGeneralizedYear) {
    throw new PkiError('der', 'GeneralizedTime before 2050', offset)
  }
  return at
}
