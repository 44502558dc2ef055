import { join } from 'node:path'

import type { Context } from '../context.ts'
import { openDirectoryStorage } from './directory-storage.ts'
import { openS3Storage } from './s3-storage.ts'
import type { ArtifactStorage } from './storage.ts'

/**
 * The bucket when there is one; what it does not have is looked for in the data directory, where it was before, or where a
 * backup was restored to. Otherwise the data directory alone.
 * @throws ConfigError when the store refuses these keys
 */
export async function openStorage({
  config,
  clock,
  log,
}: Pick<Context, 'config' | 'clock' | 'log'>): Promise<ArtifactStorage> {
  await using stack = new AsyncDisposableStack()
  const directory = stack.use(
    await openDirectoryStorage(
      join(config.dataDir, 'artifacts'),
      config.disk.reserveBytes,
      // Broker processes come and go while the process that keeps the installation takes uploads.
      config.role === 'broker',
    ),
  )
  if (!config.s3) return (stack.move(), directory)
  const bucket = stack.use(
    await openS3Storage(config.s3, { clock, log, fallback: { open: directory.open } }),
  )
  const up = stack.move()
  return {
    receive: bucket.receive,
    open: bucket.open,
    ...(bucket.remote && { remote: bucket.remote }),
    [Symbol.asyncDispose]: async () => await up.disposeAsync(),
  }
}
