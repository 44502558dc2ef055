import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { rm, statfs, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A filesystem of its own, in memory, so that it can be filled without harm. */
export interface SmallDisk extends AsyncDisposable {
  path: string
  /** Fills it with one file until about so many bytes are free; 0 or less: nothing is. */
  fillTo: (freeBytes: number) => Promise<void>
  /** Takes that file away again. */
  empty: () => Promise<void>
}

/** Undefined where nothing may be mounted, which is for the privileged. */
export function mountSmallDisk(megabytes: number): SmallDisk | undefined {
  const path = mkdtempSync(join(tmpdir(), 'fleetseal-disk-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${megabytes}m`, 'tmpfs', path])
  if (mounted.status !== 0) {
    rmSync(path, { recursive: true, force: true })
    return undefined
  }
  const ballast = join(path, 'ballast')
  return {
    path,
    fillTo: async (freeBytes) => {
      await rm(ballast, { force: true })
      const { bavail, bsize } = await statfs(path)
      await writeFile(ballast, Buffer.alloc(Math.max(0, bavail * bsize - freeBytes))).catch(
        () => {},
      )
    },
    empty: async () => await rm(ballast, { force: true }),
    [Symbol.asyncDispose]: async () => {
      spawnSync('umount', ['-l', path])
      await rm(path, { recursive: true, force: true })
    },
  }
}
