import { cp, mkdtemp, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

import { type RunningServer, startServer } from './server.ts'

/** What of an installation is not in the database: the key that wraps keys, the marker. The artifacts are shared. */
export async function copyInstallation(first: RunningServer, home: string): Promise<void> {
  const own = join(home, 'data')
  await cp(first.dataDir, own, {
    recursive: true,
    filter: (path) => !/artifacts|\.lock|lock$/.test(path.slice(dirname(first.dataDir).length)),
  })
  await symlink(join(first.dataDir, 'artifacts'), join(own, 'artifacts'))
}

/** One more server on the same database. */
export async function startBeside(
  first: RunningServer,
  url: string,
  environment: Record<string, string> = {},
): Promise<RunningServer> {
  const home = await mkdtemp(join(tmpdir(), 'fleetseal-e2e-'))
  await copyInstallation(first, home)
  return await startServer({ ...environment, DATABASE_URL: url, FLEETSEAL_DATA_DIR: home })
}
