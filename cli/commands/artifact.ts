import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open } from 'node:fs/promises'
import { basename } from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'

import { ArtifactView } from '../../server/artifacts/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { Page } from '../page.ts'
import { createProgress } from '../progress.ts'
import type { Column } from '../table.ts'
import { bytes } from '../text.ts'

const columns: Column<ArtifactView>[] = [
  { head: 'name', cell: (artifact) => artifact.name },
  { head: 'size', cell: (artifact) => bytes(artifact.size) },
  { head: 'sha256', cell: (artifact) => artifact.sha256 },
  { head: 'id', cell: (artifact) => artifact.id },
]

export const artifactNoun: Noun = {
  noun: 'artifact',
  summary: 'the bytes that releases are made of',
  commands: [
    {
      verb: 'upload',
      args: 'FILE',
      summary: 'Upload a file; the same bytes give the same artifact',
      options: { name: { type: 'string', value: 'NAME', about: "for people (the file's name)" } },
      run: upload,
    },
    {
      verb: 'list',
      args: '',
      summary: 'Artifacts, newest first',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(ArtifactView), '/artifacts')), columns),
    },
    {
      verb: 'show',
      args: 'ID',
      summary: 'One artifact',
      run: async ({ client, args: [id = ''], out }) =>
        show(out, await (await client()).get(ArtifactView, `/artifacts/${encodeURIComponent(id)}`)),
    },
  ],
}

/** Reads the file twice: once for the hash that the server checks while it stores, once to send it. Memory stays flat. */
async function upload({
  client,
  args: [file = ''],
  values,
  out,
  world,
}: CommandInput): Promise<void> {
  const { sha256, size } = await fingerprint(file)
  const progress = createProgress(world.stderr, () => world.now().getTime())
  let sent = 0
  const counting = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      sent += chunk.length
      if (!out.isJson) progress.update(sent, size, `${bytes(sent)} of ${bytes(size)}`)
      done(null, chunk)
    },
  })
  const api = await client()
  const source = createReadStream(file, { highWaterMark: 256 * 1024 })
  source.once('error', (error) => counting.destroy(error))
  try {
    const artifact = await api.upload(ArtifactView, '/artifacts', {
      source: source.pipe(counting),
      size,
      query: { name: values.text('name') ?? basename(file) },
      headers: { 'Repr-Digest': `sha-256=:${sha256.toString('base64')}:` },
    })
    progress.end()
    show(out, artifact)
  } finally {
    source.destroy()
  }
}

async function fingerprint(file: string): Promise<{ sha256: Buffer; size: number }> {
  const handle = await open(file).catch((error: unknown) => {
    throw usageError(
      `Cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`,
    )
  })
  if (!(await handle.stat()).isFile()) {
    await handle.close()
    throw usageError(`${file} is not a file`)
  }
  const hash = createHash('sha256')
  let size = 0
  await pipeline(
    handle.createReadStream({ highWaterMark: 256 * 1024 }),
    async (chunks: AsyncIterable<Buffer>) => {
      for await (const chunk of chunks) {
        hash.update(chunk)
        size += chunk.length
      }
    },
  )
  return { sha256: hash.digest(), size }
}

function show(out: CommandInput['out'], artifact: ArtifactView): void {
  out.fields(artifact, (one) => [
    ['name', one.name],
    ['size', bytes(one.size)],
    ['sha256', one.sha256],
    ['id', one.id],
  ])
}
