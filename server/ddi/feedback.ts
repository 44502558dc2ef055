/** What a DDI client said about an action, as far as it could be understood. */
export interface Feedback {
  /** A word of the contract; one that is not known counts as `proceeding` (ddi.md §11). */
  execution: Execution
  finished: 'success' | 'failure' | 'none'
  /** At most 200 texts of at most 2,048 characters. */
  details: string[]
  /** Percent. */
  progress?: number
  /** How much had to be done to read it. */
  read: 'plain' | 'repaired' | 'guessed' | 'unreadable'
}

const executions = [
  'closed',
  'proceeding',
  'canceled',
  'scheduled',
  'rejected',
  'resumed',
  'download',
  'downloaded',
] as const
export type Execution = (typeof executions)[number]

const mostDetails = 200
const longestDetail = 2_048

/**
 * Reads the body of a feedback. It never refuses: SWUpdate copies log lines into it unescaped, and a device that is answered with
 * an error repeats itself for ever (ddi.md §4, §11). First as JSON; then with its texts escaped, once; then by pattern.
 *
 * @param body at most 256 KiB, the beginning of what was sent
 */
export function readFeedback(body: Buffer): Feedback {
  const text = body.toString('utf8')
  const plain = objectIn(text)
  if (plain) return feedbackOf(plain, 'plain')
  const repaired = objectIn(escaped(text))
  if (repaired) return feedbackOf(repaired, 'repaired')
  const execution = /"execution"\s{0,20}:\s{0,20}"([a-z]{1,20})"/.exec(text)?.[1]
  const finished = /"finished"\s{0,20}:\s{0,20}"([a-z]{1,20})"/.exec(text)?.[1]
  const guessed = execution !== undefined || finished !== undefined
  return {
    ...wordsOf(execution, finished),
    details: [cleaned(text)].filter((one) => one !== ''),
    read: guessed ? 'guessed' : 'unreadable',
  }
}

type Json = Readonly<Record<string, unknown>>

/** An object as the value of JSON text. Also of a scalar where a list may stand: the reader is lenient. */
export function objectIn(text: string): Json | undefined {
  try {
    return asObject(JSON.parse(text))
  } catch {
    return undefined
  }
}

function asObject(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Json)
    : undefined
}

function feedbackOf(body: Json, read: Feedback['read']): Feedback {
  const status = asObject(body['status']) ?? body
  const result = asObject(status['result'])
  const progress = progressOf(asObject(result?.['progress']))
  const details = listOf(status['details']).slice(-mostDetails)
  return {
    ...wordsOf(status['execution'], result?.['finished']),
    details: details.map((one) => cleaned(textOf(one))),
    ...(progress === undefined ? {} : { progress }),
    read,
  }
}

/** What is closed with a word that is not known has failed: a doubt never counts as success. */
function wordsOf(execution: unknown, finished: unknown): Pick<Feedback, 'execution' | 'finished'> {
  const known = executions.find((word) => word === execution) ?? 'proceeding'
  if (finished === 'success' || finished === 'failure' || finished === 'none') {
    return { execution: known, finished }
  }
  return { execution: known, finished: known === 'closed' ? 'failure' : 'none' }
}

function progressOf(progress: Json | undefined): number | undefined {
  const [done, all] = [countOf(progress?.['cnt']), countOf(progress?.['of'])]
  if (!(all > 0) || !(done >= 0)) return undefined
  return Math.min(100, Math.floor((done / all) * 100))
}

/** Of a list or an object there is no number to be had, and asking for one can throw. */
function countOf(value: unknown): number {
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : Number.NaN
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value
  try {
    return JSON.stringify(value)
  } catch {
    // Deeper than can be written again, though it could be read.
    return ''
  }
}

function listOf(value: unknown): unknown[] {
  if (value === undefined || value === null) return []
  return Array.isArray(value) ? value : [value]
}

/** Text for the database, a log and a terminal. */
function cleaned(text: string): string {
  const short = text.slice(0, longestDetail).toWellFormed()
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return short.replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ').trim()
}

/** The same text with raw control characters replaced, and quotation marks inside the texts of `details` escaped. */
function escaped(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  const printable = text.replaceAll(/[\u0000-\u001f\u007f]/g, ' ')
  const found = /"details"\s{0,20}:\s{0,20}\[/.exec(printable)
  if (!found) return printable
  const from = found.index + found[0].length
  const to = endOfDetails(printable, from)
  if (to === undefined) return printable
  const inner = printable.slice(from, to).trim()
  const texts = inner
    .replace(/^"/, '')
    .replace(/"$/, '')
    .split(/" ?, ?"/)
  return `${printable.slice(0, from)}${texts.map((one) => JSON.stringify(one)).join(',')}${printable.slice(to)}`
}

/** Where the list ends: the last bracket that closes the object, or comes before the rest of it. */
function endOfDetails(text: string, from: number): number | undefined {
  for (let at = text.lastIndexOf(']'); at >= from; at = text.lastIndexOf(']', at - 1)) {
    const next = text.slice(at + 1, at + 40).trimStart()
    if (next.startsWith('}') || next.startsWith(',"') || next.startsWith(', "')) return at
    if (at === 0) return undefined
  }
  return undefined
}
