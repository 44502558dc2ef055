import { TextDecoder } from 'node:util'

import { DomainError } from '../errors.ts'

export interface CsvRow {
  /** Line of the text it begins on, from 1. */
  line: number
  fields: string[]
}

const maxFields = 32

/**
 * Reads CSV (RFC 4180) as it arrives: UTF-8 with or without a mark, lines ended by LF or CRLF, fields quoted or not, empty lines left
 * out. Memory is bounded by one row.
 *
 * @param chunks bytes in pieces of any size
 * @param maxRowLength characters of one row
 * @throws DomainError `invalid-request` with the line, for what is not CSV or not UTF-8; after that nothing is read
 */
export async function* readCsv(
  chunks: AsyncIterable<Buffer>,
  maxRowLength: number,
): AsyncGenerator<CsvRow> {
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const rows = new RowReader(maxRowLength)
  for await (const chunk of chunks) yield* rows.read(decode(decoder, rows.line, chunk))
  yield* rows.read(decode(decoder, rows.line))
  yield* rows.end()
}

function decode(decoder: TextDecoder, line: number, chunk?: Buffer): string {
  try {
    return chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode()
  } catch (error) {
    throw new DomainError('invalid-request', `Line ${line}: not UTF-8`, { line }, { cause: error })
  }
}

/** `start` of a field, `plain` or `quoted` inside one, `quote` after a quotation mark inside a quoted one. */
type Place = 'start' | 'plain' | 'quoted' | 'quote'

class RowReader {
  line = 1
  readonly #maxLength: number
  #begunOn = 1
  #place: Place = 'start'
  #fields: string[] = []
  #field = ''
  #length = 0
  /** A CR outside quotes: only LF may follow. */
  #isReturned = false

  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  *read(text: string): Generator<CsvRow> {
    for (const character of text) {
      this.#length += 1
      if (this.#length > this.#maxLength) throw this.#refused('the row is too long')
      if (this.#isReturned && character !== '\n') throw this.#refused('a carriage return in a row')
      if (this.#place === 'quoted') this.#inQuotes(character)
      else if (character === '\n') yield* this.#endRow()
      else this.#outside(character)
    }
  }

  *end(): Generator<CsvRow> {
    if (this.#place === 'quoted') throw this.#refused('a quotation mark is not closed')
    yield* this.#endRow()
  }

  #inQuotes(character: string): void {
    if (character === '"') this.#place = 'quote'
    else this.#field += character
    if (character === '\n') this.line += 1
  }

  #outside(character: string): void {
    if (character === ',') return this.#endField()
    if (character === '\r') {
      this.#isReturned = true
      return
    }
    if (character === '"' && this.#place === 'start') {
      this.#place = 'quoted'
      return
    }
    if (character === '"' && this.#place === 'quote') {
      this.#field += '"'
      this.#place = 'quoted'
      return
    }
    if (character === '"' || this.#place === 'quote') throw this.#refused('a stray quotation mark')
    this.#place = 'plain'
    this.#field += character
  }

  #endField(): void {
    if (this.#fields.length >= maxFields) throw this.#refused('too many fields')
    this.#fields.push(this.#field)
    this.#field = ''
    this.#place = 'start'
  }

  *#endRow(): Generator<CsvRow> {
    const isEmpty = this.#fields.length === 0 && this.#field === '' && this.#place === 'start'
    if (!isEmpty) {
      this.#endField()
      yield { line: this.#begunOn, fields: this.#fields }
    }
    this.#fields = []
    this.#length = 0
    this.#isReturned = false
    this.line += 1
    this.#begunOn = this.line
  }

  #refused(why: string): DomainError {
    return new DomainError('invalid-request', `Line ${this.line}: ${why}`, { line: this.line })
  }
}
