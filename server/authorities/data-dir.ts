import { access, mkdir, readdir, realpath, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

import { z } from 'zod'

import type { Config } from '../config.ts'
import { lockDirectory } from './directory-lock.ts'
import { createAtomically, hasCode, readOptional, writeAtomically } from './files.ts'
import { InstallationError } from './installation-error.ts'

type Settings = Pick<Config, 'dataDir' | 'kekFile' | 'databaseUrl'>

/** Where everything in the data directory is. */
export function dataPaths({ dataDir, kekFile }: Pick<Config, 'dataDir' | 'kekFile'>) {
  return {
    marker: join(dataDir, 'fleetseal.json'),
    kek: kekFile,
    adminApiKey: join(dataDir, 'admin-api-key'),
    rootPem: join(dataDir, 'ca', 'root.pem'),
    request: (purpose: string) => join(dataDir, 'ca', 'requests', `${purpose}.csr.pem`),
    answer: (purpose: string) => join(dataDir, 'ca', 'answers', `${purpose}.pem`),
    database: join(dataDir, 'db'),
    artifacts: join(dataDir, 'artifacts'),
  }
}

const Marker = z.strictObject({
  format: z.literal(1),
  database: z.enum(['embedded', 'postgres']),
  /**
   * `creating`: the first start has not come past making the database, so nothing in it is of value. `created`: the
   * database and the key-encryption key belong together from here on. `ready`: the first start came to its end.
   */
  state: z.enum(['creating', 'created', 'ready']),
})
type Marker = z.infer<typeof Marker>

const maxMarkerBytes = 4096

/**
 * Takes the data directory for this process, until disposed. It is made (mode 0700) when absent. Everything that is not
 * ours, not whole or in use is refused before anything in it is changed.
 *
 * @throws InstallationError
 */
export async function openDataDir(config: Settings): Promise<AsyncDisposable & { path: string }> {
  const path = await existingDirectory(config.dataDir)
  const lock = await lockDirectory(path)
  if (!lock) {
    throw new InstallationError(`Another process uses the data directory ${path}: stop it first`)
  }
  try {
    await inspect(config)
    return { path, [Symbol.asyncDispose]: () => lock[Symbol.asyncDispose]() }
  } catch (error) {
    await lock[Symbol.asyncDispose]()
    throw error
  }
}

/** What the marker says, or undefined when the directory has none (a test's, or not made yet). */
export async function installationState(config: Settings): Promise<Marker['state'] | undefined> {
  return (await readMarker(config))?.state
}

/** Notes how far the first start has come. Never goes back. */
export async function reachState(config: Settings, state: 'created' | 'ready'): Promise<void> {
  const marker = await readMarker(config)
  if (!marker || marker.state === state || marker.state === 'ready') return
  await writeAtomically(dataPaths(config).marker, JSON.stringify({ ...marker, state }))
}

async function existingDirectory(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
  } catch (error) {
    if (hasCode(error, 'EEXIST') || hasCode(error, 'ENOTDIR')) {
      throw new InstallationError(`FLEETSEAL_DATA_DIR ${path} is not a directory`)
    }
    throw error
  }
  if (!(await stat(path)).isDirectory()) {
    throw new InstallationError(`FLEETSEAL_DATA_DIR ${path} is not a directory`)
  }
  return await realpath(path)
}

async function inspect(config: Settings): Promise<void> {
  const marker = await readMarker(config)
  if (!marker) return await begin(config)
  const kind = kindOf(config)
  if (marker.database !== kind) {
    throw new InstallationError(
      kind === 'postgres'
        ? `${config.dataDir} belongs to an installation on the embedded database: unset DATABASE_URL, or choose another FLEETSEAL_DATA_DIR`
        : `${config.dataDir} belongs to an installation on PostgreSQL: set DATABASE_URL, or choose another FLEETSEAL_DATA_DIR`,
    )
  }
  if (marker.state === 'creating') return await beginAgain(config)
  await assertWhole(config, kind)
}

async function begin(config: Settings): Promise<void> {
  const { marker, kek } = dataPaths(config)
  const ours = new Set([
    'lost+found',
    ...(dirname(kek) === config.dataDir ? [basename(kek)] : []),
    // Of a machine that joins others: the directory that they share (docs/many-processes.md).
    ...(config.databaseUrl === undefined ? [] : ['artifacts']),
  ])
  const foreign = (await readdir(config.dataDir)).filter(
    // Temporary files of a first start that was cut short.
    (name) => !ours.has(name) && !/^(fleetseal\.json|kek)\.[0-9a-f]{12}\.tmp$/.test(name),
  )
  if (foreign.length > 0) {
    throw new InstallationError(
      `${config.dataDir} is not empty and not a data directory of Fleetseal (it has ${foreign.slice(0, 3).join(', ')}): choose another FLEETSEAL_DATA_DIR`,
    )
  }
  const first: Marker = { format: 1, database: kindOf(config), state: 'creating' }
  await createAtomically(marker, JSON.stringify(first))
}

/** The first start was cut short before it had a database: what is there of one is made again. */
async function beginAgain(config: Settings): Promise<void> {
  await rm(dataPaths(config).database, { recursive: true, force: true })
}

async function assertWhole(config: Settings, kind: Marker['database']): Promise<void> {
  const { kek, database } = dataPaths(config)
  const missing: string[] = []
  if (!(await exists(kek))) missing.push(`the key-encryption key ${kek}`)
  if (kind === 'embedded' && !(await exists(join(database, 'PG_VERSION')))) {
    missing.push(`the database ${database}`)
  }
  if (missing.length > 0) {
    throw new InstallationError(
      `The data directory ${config.dataDir} is not whole: ${missing.join(' and ')} is missing. Restore it from a backup, or choose another FLEETSEAL_DATA_DIR`,
    )
  }
}

async function readMarker(config: Settings): Promise<Marker | undefined> {
  const { marker } = dataPaths(config)
  const bytes = await readOptional(marker, maxMarkerBytes)
  if (!bytes) return undefined
  const parsed = Marker.safeParse(parseJson(bytes.toString('utf8')))
  if (parsed.success) return parsed.data
  throw new InstallationError(
    `${marker} is damaged or was written by a newer version: restore it, or choose another FLEETSEAL_DATA_DIR`,
  )
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function kindOf({ databaseUrl }: Settings): Marker['database'] {
  return databaseUrl === undefined ? 'embedded' : 'postgres'
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}
