import { PkiError } from '../errors.ts'
import { tags } from './tags.ts'

const firstGeneralizedYear = 2050
const firstUtcYear = 1950

/**
 * RFC 5280 §4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050, always in UTC with seconds and
 * never with a fraction. The only writer of times in this library, so that nothing else can differ.
 * Milliseconds are cut off.
 */
export function encodeTime(at: Date): Buffer {
  const year = at.getUTCFullYear()
  if (!(year >= firstUtcYear && year <= 9999)) {
    throw new PkiError('der', 'A time must lie between the years 1950 and 9999')
  }
  const digits = timeDigits(at)
  return year < firstGeneralizedYear
    ? Buffer.from(`\x17\x0d${digits.slice(2)}Z`, 'latin1')
    : Buffer.from(`\x18\x0f${digits}Z`, 'latin1')
}

/** `YYYYMMDDHHMMSS` in UTC. */
function timeDigits(at: Date): string {
  const iso = at.toISOString()
  return (
    iso.slice(0, 4) +
    iso.slice(5, 7) +
    iso.slice(8, 10) +
    iso.slice(11, 13) +
    iso.slice(14, 16) +
    iso.slice(17, 19)
  )
}

/**
 * Reads the content of a UTCTime (`YYMMDDHHMMSSZ`) or GeneralizedTime (`YYYYMMDDHHMMSSZ`).
 * Throws PkiError `der` for offsets, fractions, missing seconds and dates that do not exist.
 */
export function decodeTime(tag: number, content: Buffer, offset: number): Date {
  const text = content.toString('latin1')
  const isUtc = tag === tags.utcTime
  const match = (isUtc ? /^(\d{2})(\d{10})Z$/ : /^(\d{4})(\d{10})Z$/).exec(text)
  if (!match?.[1] || !match[2]) throw new PkiError('der', 'Malformed time', offset)
  const short = Number(match[1])
  const year = isUtc ? short + (short >= 50 ? 1900 : 2000) : short
  const rest = match[2]
  const digits = `${String(year).padStart(4, '0')}${rest}`
  const at = new Date(
    `${digits.slice(0, 4)}-${rest.slice(0, 2)}-${rest.slice(2, 4)}T` +
      `${rest.slice(4, 6)}:${rest.slice(6, 8)}:${rest.slice(8, 10)}Z`,
  )
  // Date accepts 24:00:00 and 31 April and rolls them over; writing the result back shows it.
  if (Number.isNaN(at.getTime()) || timeDigits(at) !== digits) {
    throw new PkiError('der', 'A time that does not exist', offset)
  }
  return at
}

/** RFC 5280 §4.1.2.5: a GeneralizedTime before 2050 has a second spelling and is refused. */
export function decodeCertificateTime(tag: number, content: Buffer, offset: number): Date {
  const at = decodeTime(tag, content, offset)
  if (tag === tags.generalizedTime && at.getUTCFullYear() < firstGeneralizedYear) {
    throw new PkiError('der', 'GeneralizedTime before 2050', offset)
  }
  return at
}
