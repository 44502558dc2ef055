import { readFile, writeFile } from 'node:fs/promises'

import { sql } from 'kysely'

import { runProgram } from '../../cli/program.ts'
import { chainHash, chainStart } from '../../pki/audit/chain.ts'
import { recordAudits } from '../../server/audit/audit.ts'
import { makeCheckpoint } from '../../server/audit/checkpoints.ts'
import { exportChain, type ExportRange } from '../../server/audit/export.ts'
import { sealBatch, sealedText } from '../../server/audit/seal.ts'
import { sealedRows } from '../../server/audit/store.ts'
import type { Context } from '../../server/context.ts'
import type { Db } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'kek'>

const tables = ['audit_event', 'audit_checkpoint', 'audit_start', 'audit_hold']

/** What somebody with the owner's password could do: the triggers out of the way, then a change. */
export async function tamperWith(db: Db, ...changes: string[]): Promise<void> {
  for (const table of tables) await sql.raw(`alter table ${table} disable trigger user`).execute(db)
  for (const change of changes) await sql.raw(change).execute(db)
  for (const table of tables) await sql.raw(`alter table ${table} enable trigger user`).execute(db)
}

export async function emptyLog(db: Db): Promise<void> {
  await tamperWith(
    db,
    'truncate audit_event restart identity',
    'truncate audit_checkpoint, audit_start, audit_hold, audit_key, audit_stream restart identity',
  )
}

/** Rows `from` to `from + count - 1`, sealed. */
export async function givenRows(
  { db }: Pick<Deps, 'db'>,
  count: number,
  { from = 1, at = new Date('2030-01-01T00:00:00.123Z') } = {},
): Promise<void> {
  const rows = Array.from({ length: count }, (_, n) => ({
    at,
    actor: 'key:1',
    action: 'test.do',
    subject: `subject-${from + n}`,
    facts: { n: from + n, text: 'äöü "quoted" \u007f\n', nothing: null },
    requestId: 'request-1',
    origin: { address: '192.0.2.1' },
  }))
  await inTransaction(db, (tx) => recordAudits(tx, rows))
  while ((await sealBatch({ db })) > 0);
}

/** Rows up to 8, a checkpoint, and the rows 9 and 10. Gives the checkpoint's note. */
export async function givenLog(deps: Deps): Promise<string> {
  await givenRows(deps, 8)
  const checkpoint = await makeCheckpoint(deps)
  await givenRows(deps, 2, { from: 9 })
  return checkpoint?.note ?? ''
}

/** Makes every hash anew, as somebody would who knows how and wants no one to see a change. */
export async function chainAnew(db: Db): Promise<void> {
  let hash: Buffer = chainStart
  for (const row of await sealedRows(db, 0, 10_000)) {
    const next = chainHash(hash, sealedText(row.chain_no, row))
    await tamperWith(
      db,
      `update audit_event set prev_hash = '\\x${hash.toString('hex')}', hash = '\\x${next.toString('hex')}' where seq = ${row.seq}`,
    )
    hash = next
  }
}

export async function exportTo(db: Db, file: string, range: ExportRange = {}): Promise<string> {
  let text = ''
  for await (const page of exportChain({ db }, range)) text += page
  await writeFile(file, text)
  return text
}

export async function fleetseal(
  words: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const code = await runProgram(words, {
    env,
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    ask: async () => undefined,
    now: () => new Date(),
    sleep: async () => {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

/** What the verifier says about files, without any server. */
export async function verdict(
  ...words: string[]
): Promise<{ code: number; findings: string[]; body: Record<string, unknown> }> {
  const { code, out, err } = await fleetseal(['audit', 'verify', ...words, '--json'])
  const answer = JSON.parse(code === 0 ? out : err) as Record<string, unknown>
  const body = (code === 0 ? answer : answer['error']) as Record<string, unknown>
  const findings = (body['findings'] ?? []) as { kind: string; chainNo: number }[]
  return { code, body, findings: findings.map(({ kind, chainNo }) => `${kind} ${chainNo}`) }
}

export async function appendTo(file: string, text: string): Promise<void> {
  await writeFile(file, (await readFile(file, 'utf8')) + text)
}
