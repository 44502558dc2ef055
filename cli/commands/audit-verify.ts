import { type Checkpoint } from '../../pki/audit/checkpoint.ts'
import { findFork } from '../../pki/audit/fork.ts'
import {
  type AuditFinding,
  type AuditSummary,
  AuditVerifier,
  openCheckpoint,
} from '../../pki/audit/verify.ts'
import { PkiError } from '../../pki/errors.ts'
import { type NoteKey, parseNoteKey } from '../../pki/signed-note.ts'
import { VerifyView } from '../../server/audit/wire.ts'
import { linesOf, rowsOf } from '../audit-file.ts'
import type { Command, CommandInput } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { readSmall } from '../settings.ts'

const maxFiles = 20
/** More key lines than this no export has before its first row. */
const maxHeadLines = 200

export const verifyAudit: Command = {
  verb: 'verify',
  args: '[FILE…]',
  summary:
    'Walk the whole chain, or check exports without a server; fails at what was changed or is missing',
  options: {
    key: {
      type: 'string',
      value: 'KEY|FILE',
      multiple: true,
      about: 'trust this key of the log, as "fleetseal audit keys" gave it, and none else',
    },
    checkpoint: {
      type: 'string',
      value: 'FILE',
      multiple: true,
      about: 'compare with checkpoints that were kept elsewhere',
    },
  },
  run: async (input) => {
    if (input.args.length === 0) return await verifyOnline(input)
    await verifyFiles(input)
  },
}

async function verifyOnline({ client, values, out }: CommandInput): Promise<void> {
  if (values.texts('key').length + values.texts('checkpoint').length > 0) {
    throw usageError('--key and --checkpoint go with the FILE of an export')
  }
  const api = await client()
  let walked = 0
  let after: number | undefined
  for (;;) {
    const report = await api.get(VerifyView, '/audit/verify', { after })
    walked += report.walked
    after = report.verifiedTo
    if (report.firstBreak) {
      const { chainNo, reason } = report.firstBreak
      throw new Failure('chain-broken', `The chain does not hold at ${chainNo}: ${reason}`, {
        nextStep: 'Compare the database with a backup from before this row',
        facts: { ...report, walked },
      })
    }
    if (report.more) continue
    out.fields({ ...report, walked }, (one) => [
      ['chain', 'holds'],
      ['rows', one.walked],
      ['not sealed yet', one.unsealed],
      ['signed up to', one.coveredTo],
      ['head', one.head],
    ])
    return
  }
}

interface Finding extends AuditFinding {
  file: string
}

async function verifyFiles({ args: files, values, out }: CommandInput): Promise<void> {
  if (files.length > maxFiles) throw usageError(`At most ${maxFiles} files at a time`)
  const pinned = await Promise.all(values.texts('key').map(async (text) => await keyOf(text)))
  const kept = await keptCheckpoints(
    values.texts('checkpoint'),
    await trusted(files[0] ?? '', pinned),
  )
  const summaries: (AuditSummary & { file: string })[] = []
  for (const file of files) summaries.push({ file, ...(await verifyFile(file, pinned, kept)) })
  const findings: Finding[] = summaries.flatMap(({ file, findings: found }) =>
    found.map((one) => ({ ...one, file })),
  )
  findings.push(...(await forks(files)))
  const answer = {
    ok: findings.length === 0,
    isKeyPinned: pinned.length > 0,
    files: summaries.map((one) => ({ ...one, findings: undefined })),
    findings,
  }
  if (findings.length > 0) {
    const [first] = findings
    const words = findings.map(
      ({ file, kind, detail, seq }) =>
        `  ${file}: ${kind}: ${detail}${seq === null ? '' : ` (row ${seq})`}`,
    )
    throw new Failure(
      'chain-broken',
      `The audit log does not hold at ${first?.chainNo}:\n${words.join('\n')}`,
      {
        nextStep: 'Keep these files: they prove it. Compare the database with a backup from before',
        facts: answer,
      },
    )
  }
  out.fields(answer, () => summaryFields(summaries, pinned.length > 0))
}

function summaryFields(
  summaries: readonly (AuditSummary & { file: string })[],
  isPinned: boolean,
): [string, string | number][] {
  return summaries.flatMap((one) => [
    [one.file, 'holds'],
    ['rows', `${one.rows}: ${one.from} to ${one.to}`],
    ['signed up to', `${one.coveredTo} (${one.coveredAt ?? 'never'})`],
    ['head', one.head],
    [
      'key',
      `${one.keys.join(' ')}${isPinned ? '' : ' (taken from the file: compare it with what you were given, or use --key)'}`,
    ],
  ])
}

async function verifyFile(
  file: string,
  keys: readonly NoteKey[],
  kept: readonly Checkpoint[],
): Promise<AuditSummary> {
  const verifier = new AuditVerifier({ keys, kept })
  for await (const { text, isWhole } of linesOf(file)) {
    // A line that breaks off is no line: the export is incomplete, which is said of it.
    if (isWhole) verifier.line(text)
  }
  return verifier.finish()
}

/** The keys that checkpoints are opened with: as the verifier trusts them after the beginning of an export. */
async function trusted(file: string, pinned: readonly NoteKey[]): Promise<readonly NoteKey[]> {
  const verifier = new AuditVerifier({ keys: pinned, kept: [] })
  let count = 0
  for await (const { text } of linesOf(file)) {
    verifier.line(text)
    if (++count >= maxHeadLines) break
  }
  return verifier.keys
}

async function keptCheckpoints(
  files: readonly string[],
  keys: readonly NoteKey[],
): Promise<Checkpoint[]> {
  const all: Checkpoint[] = []
  for (const file of files) {
    const text = await readSmall(file, 'the checkpoints', '--checkpoint FILE')
    // Several may stand one behind the other.
    for (const note of text
      .split(/^(?=fleetseal\.audit\/)/m)
      .filter((part) => part.trim() !== '')) {
      try {
        all.push(openCheckpoint(`${note.trimEnd()}\n`, keys))
      } catch (error) {
        if (!(error instanceof PkiError)) throw error
        throw new Failure('checkpoint-refused', `${file}: ${error.message}`, {
          nextStep: 'Name the key that signed it with --key',
        })
      }
    }
  }
  return all
}

async function keyOf(given: string): Promise<NoteKey> {
  const text = given.includes('+')
    ? given
    : await readSmall(given, 'the key of the log', '--key KEY')
  try {
    return parseNoteKey(text)
  } catch (error) {
    if (error instanceof PkiError) throw usageError(`--key: ${error.message}`)
    throw error
  }
}

async function forks(files: readonly string[]): Promise<Finding[]> {
  if (files.length < 2) return []
  const accounts = files.map((file) => rowsOf(file))
  try {
    const fork = await findFork(accounts)
    if (!fork) return []
    const [one = '', other = ''] = fork.between.map((index) => files[index] ?? '')
    const detail = `${one} and ${other} tell two histories from row ${fork.chainNo} on`
    return [{ kind: 'forked', chainNo: fork.chainNo, seq: null, detail, file: other }]
  } finally {
    await Promise.all(accounts.map(async (account) => await account.return(undefined)))
  }
}
