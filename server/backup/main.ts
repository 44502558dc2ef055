import { readFile, writeFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'

import { newRecipient, readKeyText } from '../../pki/sealed/sealed-file.ts'
import { InstallationError } from '../authorities/installation-error.ts'
import { systemClock } from '../clock.ts'
import { ConfigError, loadConfig } from '../config.ts'
import { MigrationError } from '../db/migration-error.ts'
import { BackupError } from './backup-error.ts'
import { drill } from './drill.ts'
import { inspectBackup } from './inspect.ts'
import { restoreBackup } from './restore.ts'

/**
 * What is done with backups where no server runs: `node server/backup/main.ts verify|restore|drill FILE --key-file KEY` and `… key FILE`. The
 * command line starts it (`fleetseal backup …`). Answers one JSON value; a refusal goes to standard error, in words, with status 1.
 */
async function main(argv: string[]): Promise<unknown> {
  const { positionals, values } = parseArgs({
    args: argv,
    allowPositionals: true,
    options: { 'key-file': { type: 'string' } },
  })
  const [verb, path] = positionals
  if (verb === undefined || path === undefined)
    throw new BackupError('Say what to do, and with which file')
  if (verb === 'key') return await makeKey(path)
  const file = values['key-file']
  if (file === undefined) throw new BackupError('--key-file is missing')
  const key = readKeyText(await readFile(file, 'utf8'))
  if ('recipient' in key) {
    throw new BackupError(
      'A recipient seals and does not open: give the secret key that was made with it',
    )
  }
  if (verb === 'verify') {
    const { kek, kekCheck: _check, ...rest } = await inspectBackup(path, key)
    return { ...rest, holdsKek: kek !== undefined }
  }
  const order = { path, key, now: systemClock.now() }
  if (verb === 'restore') return await restoreBackup(loadConfig(process.env), order)
  if (verb === 'drill') return await drill(loadConfig(process.env), order)
  throw new BackupError(`There is no ${verb}; there are key, verify, restore, drill`)
}

async function makeKey(path: string): Promise<{ recipient: string; secretFile: string }> {
  const { recipient, secret } = newRecipient()
  await writeFile(path, `${secret}\n`, { flag: 'wx', mode: 0o600 })
  return { recipient, secretFile: path }
}

const expected = [BackupError, InstallationError, MigrationError, ConfigError]
try {
  console.log(JSON.stringify(await main(process.argv.slice(2))))
} catch (error) {
  const isExpected = expected.some((kind) => error instanceof kind)
  const isFile = error instanceof Error && 'syscall' in error
  console.error(isExpected || isFile ? (error as Error).message : error)
  process.exitCode = 1
}
