import { open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'

import { lastRowOf } from '../audit-file.ts'
import type { Command, CommandInput } from '../command.ts'
import { Failure, usageError } from '../failure.ts'

export const exportAudit: Command = {
  verb: 'export',
  args: '',
  summary: 'Write the whole log with the checkpoints that verify it to a file',
  options: {
    out: { type: 'string', value: 'FILE', about: 'where it goes (needed)' },
    resume: { type: 'boolean', about: 'go on behind the last row that FILE has' },
    after: { type: 'string', value: 'N', about: 'begin behind this place in the chain' },
  },
  run,
}

async function run({ client, values, out, world }: CommandInput): Promise<void> {
  const file = values.needed('out')
  const from = values.number('after')
  const last = values.flag('resume') ? await lastRowOf(file) : undefined
  if (values.flag('resume') && !last) throw usageError(`${file} has no row to go on from`)
  if (last && from !== undefined) throw usageError('Give --resume or --after, not both')
  const after = last?.chainNo ?? from
  const api = await client()
  const source = await api.stream('/audit/export', {
    accept: 'application/x-ndjson',
    query: { after },
    signal: world.signal,
  })
  const handle = await open(file, last ? 'r+' : 'wx', 0o600).catch((error: unknown) => {
    source.destroy()
    const word = error instanceof Error && 'code' in error ? String(error.code) : ''
    throw word === 'EEXIST'
      ? usageError(`${file} is there already`, 'Name another --out, or go on with --resume')
      : usageError(`Cannot write ${file}: ${word}`)
  })
  // A row that breaks off, and the end of the export before.
  await handle.truncate(last?.end ?? 0)
  const writing = handle.createWriteStream({ start: last?.end ?? 0, flush: true })
  await pipeline(source, writing).catch((error: unknown) => {
    throw new Failure(
      'failed',
      `The log did not come whole: ${error instanceof Error ? error.message : ''}`,
      {
        nextStep: `Go on with: fleetseal audit export --out ${file} --resume`,
        cause: error,
      },
    )
  })
  const end = (await lastRowOf(file))?.chainNo ?? 0
  out.fields({ file, after: after ?? 0, to: end }, (one) => [
    ['written', one.file],
    ['behind row', one.after],
    ['up to row', one.to],
    ['check it with', `fleetseal audit verify ${one.file}`],
  ])
}
