import { randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { access, link, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type Readable, Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { RolloutView } from '../../server/rollouts/wire.ts'
import type { Command, CommandInput } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { rolloutId } from '../lookup.ts'
import { createProgress } from '../progress.ts'
import { bytes } from '../text.ts'

const formats = ['csv', 'json'] as const
const mediaTypes = { csv: 'text/csv', json: 'application/json' } as const

export const exportRollout: Command = {
  verb: 'export',
  args: 'ROLLOUT',
  summary: 'Write what became of every device that was met to a file',
  options: {
    format: { type: 'string', value: formats.join('|'), about: `what it is written as (csv)` },
    out: { type: 'string', value: 'FILE', about: 'where it goes (needed)' },
    force: { type: 'boolean', about: 'replace a file that is there' },
  },
  run,
}

async function run(input: CommandInput): Promise<void> {
  const { client, args, values, out, world } = input
  const file = values.needed('out')
  const format = values.oneOf('format', formats) ?? 'csv'
  const isForced = values.flag('force')
  // Before the server is asked for anything.
  if (!isForced && (await isThere(file))) throw inTheWay(file)
  const api = await client()
  const id = await rolloutId(api, args[0] ?? '')
  const { counts } = await api.get(RolloutView, `/rollouts/${id}`)
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0)
  const progress = createProgress(world.stderr, () => world.now().getTime())
  let size = 0
  let lines = 0
  const counting = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      size += chunk.length
      for (const byte of chunk) if (byte === 0x0a) lines++
      // A device's own words may have lines of their own: it is a measure of the way, not a count.
      if (!out.isJson) progress.update(Math.min(lines, total), total, bytes(size))
      done(null, chunk)
    },
  })
  try {
    const source = await api.stream(`/rollouts/${id}/results`, {
      accept: mediaTypes[format],
      query: { format },
      signal: world.signal,
    })
    await writeWhole(source, counting, { file, isForced })
  } finally {
    progress.end()
  }
  out.answer({ rolloutId: id, file, format, size }, () => `${file}: ${bytes(size)}`)
}

/** The file appears under its name when all of it is on the disk, and not at all otherwise. */
async function writeWhole(
  source: Readable,
  counting: Transform,
  { file, isForced }: { file: string; isForced: boolean },
): Promise<void> {
  const part = `${file}.${randomBytes(6).toString('hex')}.part`
  const handle = await open(part, 'wx').catch((error: unknown) => {
    source.destroy()
    throw usageError(`Cannot write ${part}: ${wordsOf(error)}`, `Is ${dirname(file)} a folder?`)
  })
  // A file system without links, as on a stick.
  const renameUnlinked = async (error: unknown) => {
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP'].includes(codeOf(error))) throw error
    await rename(part, file)
  }
  try {
    try {
      await pipeline(source, counting, handle.createWriteStream({ flush: true }))
    } catch (error) {
      throw new Failure('failed', `The results did not come whole: ${wordsOf(error)}`, {
        nextStep: 'Nothing was written; run it again',
        cause: error,
      })
    }
    if (isForced) await rename(part, file)
    // Fails when somebody made the file meanwhile, which a rename would replace.
    else await link(part, file).catch(async (error: unknown) => await renameUnlinked(error))
  } catch (error) {
    throw codeOf(error) === 'EEXIST' ? inTheWay(file) : error
  } finally {
    await rm(part, { force: true })
  }
}

async function isThere(file: string): Promise<boolean> {
  return await access(file, constants.F_OK).then(
    () => true,
    () => false,
  )
}

function inTheWay(file: string): Failure {
  return usageError(`${file} is there already`, 'Name another --out, or replace it with --force')
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}
