import { randomBytes } from 'node:crypto'

import type { Config } from '../config.ts'
import { dataPaths, installationState } from './data-dir.ts'
import { createAtomically, hasCode, readOptional } from './files.ts'
import { InstallationError } from './installation-error.ts'

const kekBytes = 32

/**
 * The key-encryption key: 32 bytes of FLEETSEAL_KEK_FILE, made at random (mode 0600) when the file is absent and the
 * installation is new. One process makes it, also when two start together.
 *
 * @throws InstallationError for a file of another size, or one that is missing from an installation that has keys
 */
export async function loadKek(
  config: Pick<Config, 'dataDir' | 'kekFile' | 'databaseUrl'>,
): Promise<Buffer> {
  const { kek: path } = dataPaths(config)
  const present = await read(path)
  if (present) return present
  const state = await installationState(config)
  if (state === 'created' || state === 'ready') {
    throw new InstallationError(
      `The key-encryption key ${path} is missing: restore it from a backup`,
    )
  }
  await createAtomically(path, randomBytes(kekBytes))
  const made = await read(path)
  if (!made) throw new InstallationError(`The key-encryption key ${path} cannot be read`)
  return made
}

/**
 * The same for a process that joins an installation: no key is made.
 *
 * @throws InstallationError also when there is no key
 */
export async function loadExistingKek({ kekFile }: Pick<Config, 'kekFile'>): Promise<Buffer> {
  const present = await read(kekFile)
  if (present) return present
  throw new InstallationError(
    `The key-encryption key ${kekFile} is missing: copy that of the installation there (mode 0600), or point FLEETSEAL_KEK_FILE to it`,
  )
}

/** The key that is to be the next one, and the one before, beside the current one. */
export function kekFiles({ kekFile }: Pick<Config, 'kekFile'>) {
  return { current: kekFile, next: `${kekFile}.next`, previous: `${kekFile}.old` }
}

export async function readKek(path: string): Promise<Buffer | undefined> {
  return await read(path)
}

async function read(path: string): Promise<Buffer | undefined> {
  try {
    const bytes = await readOptional(path, 4096)
    if (!bytes || bytes.length === kekBytes) return bytes
  } catch (error) {
    if (hasCode(error, 'EACCES')) {
      throw new InstallationError(`The key-encryption key ${path} may not be read by this user`)
    }
    throw error
  }
  throw new InstallationError(
    `The key-encryption key ${path} must have exactly ${kekBytes} bytes: this is another file, or it is damaged`,
  )
}
