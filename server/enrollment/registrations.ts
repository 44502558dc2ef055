import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { findTaken, type Registration, registerMany } from '../devices/registration.ts'
import { DomainError } from '../errors.ts'
import { addMembers } from '../groups/service.ts'
import { newId } from '../ids.ts'
import type { Reach } from '../protocol/reach.ts'
import { type CsvRow, readCsv } from './csv.ts'
import { compileIdPattern } from './id-pattern.ts'
import { getProfile, type Profile } from './store.ts'

export const maxRows = 100_000
/** A row with the longest serial number and name, in the longest spelling, and some. */
const maxRowLength = 1_000
export const maxRegistrationBytes = maxRows * maxRowLength
const maxErrors = 10_000
const batchRows = 1_000

const columns = ['serialNumber', 'name'] as const
type Column = (typeof columns)[number]

export interface RowError {
  line: number
  serialNumber: string
  message: string
}

export interface ImportResult {
  dryRun: boolean
  rows: number
  registered: number
  /** They were registered in this profile before. */
  unchanged: number
  refused: number
  /** The first 10,000 of those that were refused. */
  errors: RowError[]
}

export interface Import {
  profileId: string
  isDryRun: boolean
  chunks: AsyncIterable<Buffer>
  /** Limited to groups, the caller sees what he registers at once: it goes into the group of the profile, and not only when it enrolls. */
  reach: Reach
  actor: string
  requestId: string
}

/**
 * Registers devices from CSV with a header: `serialNumber` and, optionally, `name`. Rows are taken in groups of a thousand, each in
 * its own transaction, so a file that breaks off leaves whole groups, and the same file again changes nothing. A row that
 * cannot be taken is reported and does not stop the others. A dry run says the same and writes nothing.
 *
 * @throws DomainError `invalid-request` for what is not such a file, `too-large` after 100,000 rows
 */
export async function importRegistrations(
  deps: Pick<Context, 'db' | 'clock'>,
  command: Import,
): Promise<ImportResult> {
  const profile = await getProfile(deps.db, command.profileId)
  const importing = new Importing(deps, command, profile)
  let header: Column[] | undefined
  for await (const row of readCsv(command.chunks, maxRowLength)) {
    if (header) await importing.add(row, header)
    else header = readHeader(row)
  }
  if (!header) throw new DomainError('invalid-request', 'The file is empty')
  return await importing.end()
}

function readHeader({ fields }: CsvRow): Column[] {
  const header = fields.map((field) => {
    const column = columns.find((name) => name === field.trim())
    if (column) return column
    throw new DomainError(
      'invalid-request',
      `The first line must name the columns: serialNumber and, if you like, name. There is ${JSON.stringify(field.slice(0, 50))}`,
    )
  })
  if (!header.includes('serialNumber') || new Set(header).size !== header.length) {
    throw new DomainError(
      'invalid-request',
      'The first line must name the column serialNumber, and none twice',
    )
  }
  return header
}

interface Waiting extends Registration {
  line: number
}

class Importing {
  readonly #deps: Pick<Context, 'db' | 'clock'>
  readonly #command: Import
  readonly #matches: (serialNumber: string) => boolean
  readonly #groupId: string
  readonly #result: ImportResult
  /** Of this file; at most as many as rows. */
  readonly #seen = new Set<string>()
  #waiting: Waiting[] = []

  constructor(deps: Pick<Context, 'db' | 'clock'>, command: Import, profile: Profile) {
    this.#deps = deps
    this.#command = command
    this.#groupId = profile.group_id
    this.#matches = profile.id_pattern === null ? () => true : compileIdPattern(profile.id_pattern)
    const counts = { rows: 0, registered: 0, unchanged: 0, refused: 0 }
    this.#result = { dryRun: command.isDryRun, ...counts, errors: [] }
  }

  async add({ line, fields }: CsvRow, header: readonly Column[]): Promise<void> {
    this.#result.rows += 1
    if (this.#result.rows > maxRows) {
      throw new DomainError('too-large', `More than ${maxRows} rows: split the file`, { maxRows })
    }
    const value = (column: Column) => fields[header.indexOf(column)]?.trim() ?? ''
    const serialNumber = value('serialNumber')
    const name = value('name') === '' ? serialNumber : value('name')
    const problem =
      fields.length > header.length
        ? 'has more fields than the header'
        : this.#problemOf(serialNumber, name)
    if (problem !== undefined) return this.#refuse(line, serialNumber, problem)
    this.#seen.add(serialNumber)
    this.#waiting.push({ id: newId(this.#deps.clock.now()), serialNumber, name, line })
    if (this.#waiting.length >= batchRows) await this.#flush()
  }

  async end(): Promise<ImportResult> {
    await this.#flush()
    return this.#result
  }

  #problemOf(serialNumber: string, name: string): string | undefined {
    if (!/^[\x21-\x7e]{1,64}$/.test(serialNumber)) {
      return 'the serial number must be 1 to 64 printable ASCII characters without spaces'
    }
    if (!this.#matches(serialNumber)) return 'the serial number is not one of this profile'
    if (name.length > 200 || /\p{Cc}/u.test(name)) {
      return 'the name must be 1 to 200 characters without control characters'
    }
    return this.#seen.has(serialNumber) ? 'the serial number is in this file twice' : undefined
  }

  #refuse(line: number, serialNumber: string, message: string): void {
    const { errors } = this.#result
    this.#result.refused += 1
    if (errors.length < maxErrors) {
      errors.push({ line, serialNumber: serialNumber.slice(0, 64), message })
    }
  }

  async #flush(): Promise<void> {
    const rows = this.#waiting
    this.#waiting = []
    if (rows.length === 0) return
    const made = new Set(await this.#write(rows))
    const rest = rows.filter(({ serialNumber }) => !made.has(serialNumber))
    const taken = await findTaken(
      this.#deps.db,
      this.#command,
      rest.map(({ serialNumber }) => serialNumber),
    )
    this.#result.registered += made.size
    for (const { line, serialNumber } of rest) this.#settle(line, serialNumber, taken)
  }

  /** What was not made: because it was there already, or, in a dry run, because nothing is. */
  #settle(line: number, serialNumber: string, taken: Awaited<ReturnType<typeof findTaken>>): void {
    const standing = taken.get(serialNumber)
    switch (standing) {
      case undefined:
        if (this.#command.isDryRun) this.#result.registered += 1
        else this.#refuse(line, serialNumber, 'the device was deleted meanwhile: try again')
        return
      case 'registered':
      case 'enrolled':
        this.#result.unchanged += 1
        return
      case 'elsewhere':
        this.#refuse(line, serialNumber, 'the device belongs to another profile')
        return
      default:
        this.#refuse(line, serialNumber, 'the device cannot be registered')
    }
  }

  async #write(rows: readonly Waiting[]): Promise<string[]> {
    const { profileId, isDryRun, reach, actor, requestId } = this.#command
    if (isDryRun) return []
    const now = this.#deps.clock.now()
    return await inTransaction(this.#deps.db, async (tx) => {
      const made = await registerMany(tx, profileId, rows, now)
      if (reach !== 'fleet') await addMembers(tx, this.#groupId, idsOf(rows, made), now)
      if (made.length > 0) {
        const lines = { firstLine: rows[0]?.line, lastLine: rows.at(-1)?.line }
        const range = { first: made[0], last: made.at(-1) }
        await recordAudit(tx, {
          at: now,
          actor,
          action: 'enrollment-profile.register',
          subject: profileId,
          facts: { registered: made.length, ...lines, ...range },
          requestId,
        })
      }
      return made
    })
  }
}

function idsOf(rows: readonly Registration[], serialNumbers: readonly string[]): string[] {
  const made = new Set(serialNumbers)
  return rows.filter(({ serialNumber }) => made.has(serialNumber)).map(({ id }) => id)
}
