import { spawnSync } from 'node:child_process'
import { accessSync, constants, readFileSync, realpathSync } from 'node:fs'
import { delimiter, join } from 'node:path'

export const peers = ['mosquitto', 'nginx', 'haproxy'] as const
export type Peer = (typeof peers)[number]

/** Where Debian has servers, which is not in everybody's path. */
const folders = ['/usr/sbin', '/usr/local/sbin', '/usr/bin', '/usr/local/bin']

/** The path of a program, or undefined. */
export function findProgram(name: string): string | undefined {
  const path = (process.env['PATH'] ?? '').split(delimiter).filter(Boolean)
  return [...path, ...folders].map((folder) => join(folder, name)).find(canRun)
}

function canRun(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** `2.0.11 (OpenSSL 3.0.19)`: what the program says it is, and the library that it is linked with. */
export function describeProgram(path: string): string {
  const asked = spawnSync(path, [path.endsWith('mosquitto') ? '-h' : '-v'], {
    encoding: 'utf8',
    timeout: 10_000,
  })
  const version = /(\d+\.\d+(?:\.\d+)?)/.exec(`${asked.stdout}${asked.stderr}`)?.[1] ?? 'unknown'
  const library = opensslOf(path)
  return library === undefined ? version : `${version} (${library})`
}

function opensslOf(path: string): string | undefined {
  const linked = spawnSync('ldd', [path], { encoding: 'utf8', timeout: 10_000 })
  const [, library] = /libcrypto[^ ]* => (\S+)/.exec(linked.stdout ?? '') ?? []
  if (library === undefined) return undefined
  try {
    return /OpenSSL \d+\.\d+\.\d+/.exec(readFileSync(realpathSync(library), 'latin1'))?.[0]
  } catch {
    return undefined
  }
}
