import { PkiError } from '../errors.ts'
import { type NoteKey, noteKeyId, noteKeyText, openNote, parseNoteKey } from '../signed-note.ts'
import { chainHash, chainStart } from './chain.ts'
import { type Checkpoint, endorsedKey, parseCheckpoint } from './checkpoint.ts'
import { type ExportLine, parseExportLine } from './export-line.ts'

/** What does not hold, and where. */
export interface AuditFinding {
  kind:
    | 'malformed'
    /** A row is not there. */
    | 'missing'
    /** A row does not follow the one before it: swapped, put in, or the one before was changed with its hash. */
    | 'wrong-previous'
    /** A row is not what was hashed. */
    | 'changed'
    /** The rows are not those that a checkpoint was signed for: there are two histories. */
    | 'forked'
    /** Rows are gone that a checkpoint was signed for. */
    | 'cut-off'
    | 'wrong-signature'
    /** Not a single checkpoint by a trusted key covers the rows. */
    | 'unsigned'
    /** The export breaks off. */
    | 'incomplete'
  /** The place in the chain; 0 when it is about none. */
  chainNo: number
  /** The row's own number, where there is a row. */
  seq: number | null
  detail: string
}

export interface AuditSummary {
  log: string | null
  /** The first and last place that were read, and the hash of the last. */
  from: number
  to: number
  head: string
  rows: number
  /** The last place that a checkpoint by a trusted key covers. */
  coveredTo: number
  coveredAt: string | null
  /** The key that signed that, as it is handed on; null: none did. */
  coveredBy: string | null
  /** The keys that were trusted, by name and id. */
  keys: string[]
  findings: AuditFinding[]
  /** There were more than are listed. */
  isCut: boolean
}

/** Who goes on after a break lists so many at most. */
const maxFindings = 50
const maxKeys = 100

/**
 * Checks an export line by line, in memory that does not grow with it. Keys that are given are trusted, and those that they endorsed;
 * without any, the first key of the export is taken at its word. Checkpoints that were kept elsewhere are compared with the rows.
 */
export class AuditVerifier {
  readonly #keys: NoteKey[]
  readonly #isPinned: boolean
  /** By place. */
  readonly #kept: ReadonlyMap<number, Checkpoint>
  readonly #findings: AuditFinding[] = []
  #count = 0
  #log: string | undefined
  #from = 0
  #place = 0
  #hash: Buffer = chainStart
  #rows = 0
  #isEnded = false
  #covered: Checkpoint | undefined
  #coveredBy: NoteKey | undefined

  constructor({ keys, kept }: { keys: readonly NoteKey[]; kept: readonly Checkpoint[] }) {
    this.#keys = [...keys]
    this.#isPinned = keys.length > 0
    this.#kept = new Map(kept.map((one) => [one.chainNo, one]))
  }

  /** Takes the next line, without its newline. */
  line(text: string): void {
    let line: ExportLine
    try {
      line = parseExportLine(text)
    } catch (error) {
      if (!(error instanceof PkiError)) throw error
      return this.#find('malformed', this.#place + 1, null, 'a line is not one of an export')
    }
    if (this.#log === undefined && line.kind !== 'log') {
      return this.#find('malformed', 0, null, 'the export does not say which log it is of')
    }
    this.#isEnded = line.kind === 'end'
    switch (line.kind) {
      case 'log':
        return this.#begin(line)
      case 'key':
        return this.#key(line)
      case 'row':
        return this.#row(line)
      case 'checkpoint':
        return this.#checkpoint(line.note)
      case 'end':
        return this.#end(line)
    }
  }

  /** The keys that are trusted by now. */
  get keys(): readonly NoteKey[] {
    return this.#keys
  }

  /** What was found. Nothing may be added afterwards. */
  finish(): AuditSummary {
    const place = this.#place
    if (!this.#isEnded)
      this.#find('incomplete', place, null, 'the export breaks off: export it again')
    for (const kept of this.#kept.values()) {
      if (kept.chainNo > place)
        this.#find(
          'cut-off',
          place + 1,
          null,
          `rows ${place + 1} to ${kept.chainNo} are gone: a checkpoint of ${kept.at} was signed for them`,
        )
    }
    const isUncovered = this.#rows > 0 && (this.#covered?.chainNo ?? 0) <= this.#from
    if (isUncovered)
      this.#find('unsigned', place, null, 'no checkpoint by a trusted key covers any of the rows')
    return {
      log: this.#log ?? null,
      from: this.#from + 1,
      to: place,
      head: this.#hash.toString('hex'),
      rows: this.#rows,
      coveredTo: this.#covered?.chainNo ?? 0,
      coveredAt: this.#covered?.at ?? null,
      coveredBy: this.#coveredBy ? noteKeyText(this.#coveredBy) : null,
      keys: this.#keys.map((key) => `${key.name}+${noteKeyId(key)}`),
      findings: this.#findings,
      isCut: this.#count > this.#findings.length,
    }
  }

  #begin(line: ExportLine & { kind: 'log' }): void {
    if (this.#log === undefined) {
      this.#log = line.log
      this.#from = line.after
      this.#place = line.after
      this.#hash = line.hash
      if (line.after === 0 && !line.hash.equals(chainStart))
        this.#find('wrong-previous', 1, null, 'the chain does not begin with zeros')
      return this.#compareKept()
    }
    // Where an export was taken up again.
    if (line.log !== this.#log)
      return this.#find('malformed', this.#place, null, 'two logs are mixed')
    if (line.after !== this.#place) {
      return this.#find('missing', this.#place + 1, null, `the export goes on at ${line.after + 1}`)
    }
    if (!line.hash.equals(this.#hash))
      this.#find(
        'forked',
        line.after,
        null,
        'the log had another row here when the export was taken up again',
      )
  }

  #key({ key: text, endorsement }: ExportLine & { kind: 'key' }): void {
    try {
      const key = parseNoteKey(text)
      if (key.name !== this.#log) throw new PkiError('key', 'It is of another log')
      if (this.#keys.some((one) => noteKeyId(one) === noteKeyId(key))) return
      const isFirst = !this.#isPinned && this.#keys.length === 0
      if (this.#keys.length < maxKeys && (isFirst || this.#endorses(endorsement, key)))
        this.#keys.push(key)
    } catch (error) {
      if (!(error instanceof PkiError)) throw error
      this.#find('wrong-signature', this.#place, null, `a key of the export: ${error.message}`)
    }
  }

  #endorses(endorsement: string | null, key: NoteKey): boolean {
    if (endorsement === null) return false
    const { text, signers } = openNote(endorsement, this.#keys)
    return signers.length > 0 && endorsedKey(text).publicKey.equals(key.publicKey)
  }

  #row({ chainNo, prevHash, hash, text, seq }: ExportLine & { kind: 'row' }): void {
    const expected = this.#place + 1
    const computed = chainHash(this.#hash, text)
    this.#rows++
    if (chainNo !== expected) {
      const what =
        chainNo > expected
          ? `rows ${expected} to ${chainNo - 1} are missing`
          : `row ${chainNo} comes again`
      this.#find(chainNo > expected ? 'missing' : 'wrong-previous', expected, null, what)
    } else if (!prevHash.equals(this.#hash)) {
      this.#find('wrong-previous', chainNo, seq, 'the row does not follow the one before it')
    } else if (!computed.equals(hash)) {
      this.#find('changed', chainNo, seq, 'the row is not what was recorded')
    }
    // Goes on from what the row claims, so that what else is wrong is found too.
    this.#place = chainNo
    this.#hash = hash
    this.#compareKept()
  }

  #checkpoint(note: string): void {
    const opened = this.#open(note)
    if (!opened) return
    const { checkpoint, signer } = opened
    if (checkpoint.chainNo > this.#place) {
      return this.#find(
        'cut-off',
        this.#place + 1,
        null,
        `rows ${this.#place + 1} to ${checkpoint.chainNo} are gone: a checkpoint of ${checkpoint.at} was signed for them`,
      )
    }
    if (checkpoint.chainNo === this.#place && signer && this.#compare(checkpoint)) {
      this.#coveredBy = signer
    }
  }

  #open(note: string): { checkpoint: Checkpoint; signer: NoteKey | undefined } | undefined {
    try {
      const { text, signers } = openNote(note, this.#keys)
      const checkpoint = parseCheckpoint(text)
      if (checkpoint.log !== this.#log) throw new PkiError('key', 'It is of another log')
      return { checkpoint, signer: signers[0] }
    } catch (error) {
      if (!(error instanceof PkiError)) throw error
      this.#find('wrong-signature', this.#place, null, `the checkpoint here: ${error.message}`)
      return undefined
    }
  }

  #compareKept(): void {
    const kept = this.#kept.get(this.#place)
    if (kept) this.#compare(kept)
  }

  /** Whether the rows are those that were signed. */
  #compare(checkpoint: Checkpoint): boolean {
    const { chainNo, hash, at } = checkpoint
    if (!hash.equals(this.#hash)) {
      const detail = `the rows up to here are not those that were signed at ${at}`
      this.#find('forked', chainNo, null, detail)
      return false
    }
    if (chainNo >= (this.#covered?.chainNo ?? 0)) this.#covered = checkpoint
    return true
  }

  #end({ chainNo, hash }: ExportLine & { kind: 'end' }): void {
    if (chainNo > this.#place) {
      this.#find(
        'cut-off',
        this.#place + 1,
        null,
        `rows ${this.#place + 1} to ${chainNo} are not in the file`,
      )
    } else if (chainNo !== this.#place || !hash.equals(this.#hash)) {
      this.#find('forked', this.#place, null, 'the export ends in another row than it says')
    }
  }

  #find(kind: AuditFinding['kind'], chainNo: number, seq: number | null, detail: string): void {
    this.#count++
    if (this.#findings.length < maxFindings) this.#findings.push({ kind, chainNo, seq, detail })
  }
}

/**
 * Opens a checkpoint that was kept elsewhere.
 *
 * @throws PkiError `key` when none of the keys has signed it, or it is none
 */
export function openCheckpoint(note: string, keys: readonly NoteKey[]): Checkpoint {
  const { text, signers } = openNote(note, keys)
  if (signers.length === 0)
    throw new PkiError('key', 'The checkpoint is not signed by a trusted key')
  return parseCheckpoint(text)
}
