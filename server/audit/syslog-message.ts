import { storable } from '../db/storable.ts'
import type { CheckpointRow } from './evidence-store.ts'
import { sealedText } from './seal.ts'
import type { SealedRow } from './store.ts'

/** "log audit", RFC 5424 section 6.2.1. */
const facility = 13
const warning = 4
const notice = 5
/** RFC 5425 section 4.3.1: receivers should take messages of this length. */
const maxBytes = 8_192
/** Ids of structured data want a number of an enterprise (RFC 5424 section 7.2.2); this one is for documentation (RFC 5612). */
const sdId = 'fleetseal@32473'

/**
 * An audit row as a message of RFC 5424. The message is the text that was hashed, and the hashes are beside it: what a receiver has can be verified by itself.
 * What would be too long is cut, and says so.
 */
export function rowMessage(row: SealedRow, host: string): Buffer {
  const severity = row.action.endsWith('.refuse') ? warning : notice
  return message({
    severity,
    at: row.at_text,
    host,
    id: 'audit',
    data: {
      chain: String(row.chain_no),
      previous: row.prev_hash.toString('hex'),
      hash: row.hash.toString('hex'),
      actor: row.actor,
      action: row.action,
      subject: row.subject,
      request: row.request_id ?? undefined,
    },
    text: sealedText(row.chain_no, row),
  })
}

export function checkpointMessage(row: CheckpointRow, host: string): Buffer {
  return message({
    severity: notice,
    at: row.at.toISOString(),
    host,
    id: 'checkpoint',
    data: { chain: String(row.chain_no), hash: row.hash.toString('hex') },
    text: JSON.stringify(row.note),
  })
}

interface Message {
  severity: number
  at: string
  host: string
  id: string
  data: Record<string, string | undefined>
  text: string
}

function message({ severity, at, host, id, data, text }: Message): Buffer {
  const head = `<${facility * 8 + severity}>1 ${at} ${hostOf(host)} fleetseal - ${id} `
  const whole = Buffer.from(`${head}${structured(data)} ${text}`)
  if (whole.length <= maxBytes) return framed(whole)
  const beginning = Buffer.from(`${head}${structured({ ...data, truncated: '1' })} ${text}`)
  return framed(wholeCharacters(beginning.subarray(0, maxBytes)))
}

/** RFC 5425 section 4.3: the length in bytes, a space, the message. */
function framed(bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${bytes.length} `), bytes])
}

/** Section 6.2.4: printable ASCII without spaces. */
function hostOf(host: string): string {
  return host.replaceAll(/[^\x21-\x7e]/g, '-').slice(0, 255) || '-'
}

const maxParameter = 500

/** Section 6.3: `"`, `\` and `]` are escaped in values. */
function structured(data: Record<string, string | undefined>): string {
  const parameters = Object.entries(data).flatMap(([name, value]) => {
    if (value === undefined) return []
    const text = storable(value).slice(0, maxParameter).toWellFormed()
    return [` ${name}="${text.replaceAll(/["\\\]]/g, String.raw`\$&`)}"`]
  })
  return `[${sdId}${parameters.join('')}]`
}

/** Without the beginning of a character that was cut in two. */
function wholeCharacters(bytes: Buffer): Buffer {
  let end = bytes.length
  while (end > 0 && ((bytes[end - 1] ?? 0) & 0xc0) === 0x80) end--
  const lead = bytes[end - 1] ?? 0
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1
  return end - 1 + length <= bytes.length
    ? bytes.subarray(0, end - 1 + length)
    : bytes.subarray(0, end - 1)
}
