import { spawnSync } from 'node:child_process'
import { cpus, loadavg, release, totalmem } from 'node:os'

import { describeProgram, type Peer, peers } from './peers.ts'

/** What a figure cannot be understood without. */
export interface Machine {
  cpu: string
  cores: number
  memoryGb: number
  kernel: string
  node: string
  /** Of that Node. */
  openssl: string
  /** Version and OpenSSL of each peer; absent when it is not installed. */
  peers: Partial<Record<Peer, string>>
  postgres?: string
  commit: string
  at: string
}

export function describeMachine(peer: (name: Peer) => string | undefined): Machine {
  const [cpu] = cpus()
  const found = peers.flatMap((name) => {
    const path = peer(name)
    return path === undefined ? [] : [[name, describeProgram(path)] as const]
  })
  return {
    cpu: cpu?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    openssl: process.versions.openssl,
    peers: Object.fromEntries(found),
    commit: commitOf(),
    at: new Date().toISOString(),
  }
}

/** Of the last minute. */
export function load(): string {
  return (loadavg()[0] ?? 0).toFixed(2)
}

function commitOf(): string {
  const git = (...args: string[]) =>
    spawnSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8', timeout: 10_000 })
  const { status, stdout } = git('rev-parse', '--short=10', 'HEAD')
  if (status !== 0) return 'unknown'
  const changed = git('status', '--porcelain', '--untracked-files=no').stdout.trim() !== ''
  return `${stdout.trim()}${changed ? ' with changes' : ''}`
}
