import { PkiError } from '../errors.ts'

/*
 * An export of the audit log (docs/audit.md) is text, one JSON object a line: `log` says what it is and where it begins, then the keys, then the rows in the
 * order of the chain with the checkpoints behind the rows that they end in, and last `end`. A line of a row carries the text that was hashed as it is.
 */

export type ExportLine =
  | { kind: 'log'; log: string; after: number; hash: Buffer }
  | { kind: 'key'; key: string; endorsement: string | null }
  | { kind: 'checkpoint'; note: string }
  | {
      kind: 'row'
      chainNo: number
      prevHash: Buffer
      hash: Buffer
      /** What was hashed. */
      text: string
      seq: number
    }
  | { kind: 'end'; chainNo: number; hash: Buffer }

/** Of one line, in characters. Facts are far smaller; what is longer is not ours. */
export const maxLine = 4 * 1024 * 1024

export function logLine(log: string, after: number, hash: Buffer): string {
  return `${JSON.stringify({ fleetsealAudit: 1, log, after, hash: hash.toString('hex') })}\n`
}

export function keyLine(key: string, endorsement: string | null): string {
  return `${JSON.stringify({ key, endorsement })}\n`
}

export function checkpointLine(note: string): string {
  return `${JSON.stringify({ checkpoint: note })}\n`
}

/** @param text what was hashed, as JSON; it is not written anew */
export function rowLine(chainNo: number, prevHash: Buffer, hash: Buffer, text: string): string {
  return `{"chainNo":${chainNo},"prevHash":"${prevHash.toString('hex')}","hash":"${hash.toString('hex')}","row":${text}}\n`
}

export function endLine(chainNo: number, hash: Buffer): string {
  return `${JSON.stringify({ end: chainNo, hash: hash.toString('hex') })}\n`
}

const rowPattern =
  /^\{"chainNo":([1-9]\d{0,15}),"prevHash":"([0-9a-f]*)","hash":"([0-9a-f]{64})","row":(\[.*\])\}$/s

/**
 * Reads a line, without its newline.
 *
 * @throws PkiError `key` when it is none of these
 */
export function parseExportLine(line: string): ExportLine {
  if (line.length > maxLine) throw malformed()
  const row = rowPattern.exec(line)
  if (row) return parseRow(row)
  const value = parseObject(line)
  const { log, after, hash, key, endorsement, checkpoint, end } = value
  if (value['fleetsealAudit'] === 1 && typeof log === 'string' && isPlace(after)) {
    return { kind: 'log', log, after, hash: hashOf(hash) }
  }
  if (typeof key === 'string' && (endorsement === null || typeof endorsement === 'string')) {
    return { kind: 'key', key, endorsement }
  }
  if (typeof checkpoint === 'string') return { kind: 'checkpoint', note: checkpoint }
  if (isPlace(end)) return { kind: 'end', chainNo: end, hash: hashOf(hash) }
  throw malformed()
}

function parseRow([, no = '', prev = '', own = '', text = '']: RegExpExecArray): ExportLine {
  const values: unknown = parseJson(text)
  const isRow = Array.isArray(values) && (values.length === 8 || values.length === 9)
  const chainNo = Number(no)
  const [place, seq] = isRow ? (values as unknown[]) : []
  if (place !== chainNo || typeof seq !== 'number') throw malformed()
  return {
    kind: 'row',
    chainNo,
    prevHash: Buffer.from(prev, 'hex'),
    hash: Buffer.from(own, 'hex'),
    text,
    seq,
  }
}

function parseObject(line: string): Record<string, unknown> {
  const value = parseJson(line)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw malformed()
  return value as Record<string, unknown>
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw malformed()
  }
}

function isPlace(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function hashOf(value: unknown): Buffer {
  if (typeof value !== 'string' || !/^[0-9a-f]{64}$/.test(value)) throw malformed()
  return Buffer.from(value, 'hex')
}

function malformed(): PkiError {
  return new PkiError('key', 'This is not a line of an audit export')
}
