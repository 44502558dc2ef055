import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What the openssl command says its version is; undefined where there is none. */
export const opensslVersion = findVersion()

function findVersion(): string | undefined {
  const { status, stdout } = spawnSync('openssl', ['version'], { encoding: 'utf8' })
  return status === 0 ? stdout.trim() : undefined
}

/** Runs openssl and gives what it prints; throws with its error text when it fails. */
export function openssl(...args: string[]): Buffer {
  return execFileSync('openssl', args, { stdio: ['ignore', 'pipe', 'pipe'] })
}

/** Whether an openssl command succeeds. */
export function opensslAccepts(...args: string[]): boolean {
  return spawnSync('openssl', args, { stdio: 'ignore' }).status === 0
}

/** A directory for files that openssl is to read, removed when the block ends. */
export function scratchDirectory() {
  const path = mkdtempSync(join(tmpdir(), 'pki-'))
  return {
    path,
    write(name: string, content: Buffer | string): string {
      const file = join(path, name)
      writeFileSync(file, content)
      return file
    },
    [Symbol.dispose]() {
      rmSync(path, { recursive: true, force: true })
    },
  }
}
