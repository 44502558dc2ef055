import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

import { limits } from '../../pki/tuf/repository.ts'
import type { RepositoryState } from '../../pki/tuf/types.ts'
import { StockClient } from './client.ts'

/*
 * The client program of the public TUF conformance suite, on the device's verifier:
 *
 *   node device-sim/conformance/main.ts --metadata-dir DIR init ROOT
 *   node device-sim/conformance/main.ts --metadata-dir DIR --metadata-url URL refresh
 *   node device-sim/conformance/main.ts … --target-name PATH --target-base-url URL --target-dir DIR download
 */

const topRoles = ['timestamp', 'snapshot', 'targets'] as const
const timeoutMs = 20_000

interface Options {
  'metadata-dir'?: string
  'metadata-url'?: string
  'target-name'?: string[]
  'target-base-url'?: string
  'target-dir'?: string
}

function need<T extends keyof Options>(options: Options, name: T): NonNullable<Options[T]> {
  const value = options[name]
  if (value === undefined) throw new Error(`--${name} is missing`)
  return value
}

async function replace(path: string, bytes: Buffer | string): Promise<void> {
  const temporary = `${path}.new`
  const file = await open(temporary, 'w', 0o600)
  await file.writeFile(bytes)
  await file.close()
  await rename(temporary, path)
}

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
}

async function load(dir: string): Promise<RepositoryState> {
  const root = await readText(join(dir, 'root.json'))
  if (root === undefined) throw new Error(`${dir} has no root.json: run init first`)
  const state: RepositoryState = { root, delegated: {} }
  for (const role of topRoles) {
    const text = await readText(join(dir, `${role}.json`))
    if (text !== undefined) state[role] = text
  }
  for (const name of await readdir(dir)) {
    const role = decodeURIComponent(/^role\.(.+)\.json$/.exec(name)?.[1] ?? '')
    const text = role === '' ? undefined : await readText(join(dir, name))
    if (text !== undefined) state.delegated[role] = text
  }
  return state
}

async function save(dir: string, { root, delegated, ...rest }: RepositoryState): Promise<void> {
  await replace(join(dir, 'root.json'), root)
  for (const role of topRoles) {
    const text = rest[role]
    if (text !== undefined) await replace(join(dir, `${role}.json`), text)
  }
  const names = new Set(Object.keys(delegated).map(fileOfRole))
  for (const name of await readdir(dir)) {
    if (name.startsWith('role.') && !names.has(name)) await rm(join(dir, name))
  }
  for (const [role, text] of Object.entries(delegated)) {
    await replace(join(dir, fileOfRole(role)), text)
  }
}

/** A role's name comes from metadata, so it is encoded where it becomes a file name. */
function fileOfRole(role: string): string {
  return `role.${encodeURIComponent(role)}.json`
}

/** At most so many bytes; undefined where TUF clients take it for "there is none". */
async function get(url: string, maxBytes: number): Promise<Buffer | undefined> {
  const response = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) })
  if (response.status === 404 || response.status === 403) return undefined
  if (!response.ok || !response.body) throw new Error(`${url} answered ${response.status}`)
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body) {
    length += chunk.length
    if (length > maxBytes) throw new Error(`${url} is longer than ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function clientOf(options: Options): Promise<StockClient> {
  const dir = need(options, 'metadata-dir')
  const metadataUrl = need(options, 'metadata-url').replace(/\/$/, '')
  return new StockClient(await load(dir), {
    // The names come as they are served: a role's name in them is encoded already.
    fetchMetadata: async (name) => await get(`${metadataUrl}/${name}`, limits.bundle),
    fetchTarget: async (path, maxBytes) => {
      const base = need(options, 'target-base-url').replace(/\/$/, '')
      return await get(`${base}/${path.split('/').map(encodeURIComponent).join('/')}`, maxBytes)
    },
    save: async (state) => await save(dir, state),
    now: () => new Date(),
  })
}

async function download(options: Options): Promise<void> {
  const client = await clientOf(options)
  const dir = need(options, 'target-dir')
  await client.refresh()
  for (const path of need(options, 'target-name')) {
    const file = join(dir, encodeURIComponent(path))
    const held = await readFile(file).catch(() => undefined)
    const { isHeld, bytes } = await client.download(path, held)
    if (!isHeld) await replace(file, await bytes())
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'metadata-dir': { type: 'string' },
      'metadata-url': { type: 'string' },
      'target-name': { type: 'string', multiple: true },
      'target-base-url': { type: 'string' },
      'target-dir': { type: 'string' },
    },
  })
  const [command, root] = positionals
  if (command === 'init' && root !== undefined) {
    const dir = need(values, 'metadata-dir')
    await mkdir(dir, { recursive: true })
    return await replace(join(dir, 'root.json'), await readFile(root))
  }
  if (command === 'refresh') return await (await clientOf(values)).refresh()
  if (command === 'download') return await download(values)
  throw new Error('init ROOT, refresh or download')
}

try {
  await main()
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
