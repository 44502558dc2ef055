import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

import type { Config } from '../config.ts'
import { createAtomically, syncDirectory } from './files.ts'
import { InstallationError } from './installation-error.ts'
import { opensKekCheck } from './kek-check.ts'
import { kekFiles, readKek } from './kek.ts'

/**
 * Finds the key that the database is sealed with. A rotation writes the next key beside the current one, then the database,
 * then puts the file in place; what a crash left undone of the last step is done here. The bytes of `kek` are
 * replaced where they are, because every part of the process holds the same buffer.
 *
 * @returns false when no file beside the current one fits either
 * @throws InstallationError when only the key before fits: the database is older than the rotation
 */
export async function settleKek(
  config: Pick<Config, 'kekFile'>,
  kek: Buffer,
  check: Buffer,
): Promise<boolean> {
  const files = kekFiles(config)
  if (opensKekCheck(kek, check)) {
    // Left by a rotation that never reached the database.
    await rm(files.next, { force: true })
    return true
  }
  for (const path of [files.current, files.next]) {
    const candidate = await readKek(path)
    if (!candidate || !opensKekCheck(candidate, check)) continue
    if (path === files.next) await putInPlace(config, kek)
    candidate.copy(kek)
    return true
  }
  const previous = await readKek(files.previous)
  if (previous && opensKekCheck(previous, check)) {
    throw new InstallationError(
      `The keys in this database are encrypted with the key-encryption key from before its rotation, as in a backup from then: put ${files.previous} in the place of ${files.current}`,
    )
  }
  return false
}

/** The current key is kept aside, then the next one becomes the current. May be repeated after a crash. */
export async function putInPlace(config: Pick<Config, 'kekFile'>, previous: Buffer): Promise<void> {
  const files = kekFiles(config)
  await createAtomically(files.previous, previous)
  await rename(files.next, files.current)
  await syncDirectory(dirname(files.current))
}
