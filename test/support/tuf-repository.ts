import { createHash, type KeyObject } from 'node:crypto'

import { buildRoot, metaFileOf, type RoleSigners, type TopRole } from '../../pki/tuf/build.ts'
import { canonicalize } from '../../pki/tuf/canonical.ts'
import { signBytes } from '../../pki/tuf/envelope.ts'
import { generateRoleKey, tufKeyOf } from '../../pki/tuf/keys.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import type { MetaFile } from '../../pki/tuf/types.ts'

export interface Json {
  [name: string]: Json | string | number | boolean | undefined
}
export type Change = (signed: Json) => void

/** How a file differs from the honest one: other signers, or other contents under honest signatures. */
export interface Forgery {
  keys?: KeyObject[]
  change?: Change
}

/** A change of one member; undefined takes it away. */
export function at(path: (string | number)[], value: unknown): Change {
  return (signed) => {
    const last = path.at(-1) ?? ''
    const parent = path.slice(0, -1).reduce((node, name) => node[name] as Json, signed)
    Object.assign(parent, { [last]: value })
  }
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

export function makeKeys(count: number): KeyObject[] {
  return Array.from({ length: count }, generateRoleKey)
}

export function signers(keys: KeyObject[], threshold: number): RoleSigners {
  return { keys: keys.map(tufKeyOf), threshold }
}

/** The text of a file, without any of the builders' checks: `signed` may be anything. */
export function fileText(signed: Buffer, keys: KeyObject[]): string {
  const signatures = canonicalize(keys.map((key) => signBytes(signed, key)))
  return `{"signatures":${signatures.toString()},"signed":${signed.toString()}}`
}

interface File {
  version: number
  text: string
}

/** One repository with its keys: publishes files, honest ones by default. */
export class Repository {
  keys: Record<TopRole, KeyObject[]> = {
    root: makeKeys(3),
    targets: makeKeys(3),
    snapshot: makeKeys(1),
    timestamp: makeKeys(1),
  }
  roots: string[] = []
  readonly files = new Map<string, File>()
  readonly #now: () => Date
  readonly #targetsThreshold: number
  readonly #evaluation: boolean

  constructor(now: () => Date, options: { targetsThreshold: number; evaluation: boolean }) {
    this.#now = now
    this.#targetsThreshold = options.targetsThreshold
    this.#evaluation = options.evaluation
    this.publishRoot()
  }

  /** The next root, signed by this one's keys and, after a change of `keys.root`, by the ones before. */
  publishRoot({
    keys,
    change,
    before = [],
    evaluation = this.#evaluation,
  }: Forgery & { before?: KeyObject[]; evaluation?: boolean } = {}): void {
    const { root, targets, snapshot, timestamp } = this.keys
    const signed = buildRoot({
      ...this.next('root', this.roots.length),
      roles: {
        root: signers(root, 2),
        targets: signers(targets, this.#targetsThreshold),
        snapshot: signers(snapshot, 1),
        timestamp: signers(timestamp, 1),
      },
      evaluation,
    })
    const { text } = forge(signed, {
      keys: keys ?? [...root.slice(0, 2), ...before],
      ...(change && { change }),
    })
    this.roots.push(text)
  }

  /** Version and expiry of what comes after `held`. */
  next(
    role: Parameters<typeof latestExpiry>[0],
    held = this.files.get(role)?.version ?? 0,
  ): { version: number; expiresAt: Date } {
    return { version: held + 1, expiresAt: latestExpiry(role, this.#now()) }
  }

  put(role: string, signed: Buffer, { keys, change }: Forgery & { keys: KeyObject[] }): void {
    this.files.set(role, forge(signed, { keys, ...(change && { change }) }))
  }

  metaOf(role: string): MetaFile {
    const { text, version } = this.file(role)
    return metaFileOf(Buffer.from(text), version)
  }

  file(role: string): File {
    const file = this.files.get(role)
    if (!file) throw new Error(`${role} is not published`)
    return file
  }

  /** All files by the names they are served under. */
  served(): Record<string, string> {
    const files: Record<string, string> = {}
    this.roots.forEach((text, index) => {
      if (index > 0) files[`${index + 1}.root.json`] = text
    })
    for (const [role, { version, text }] of this.files) {
      const name = `${encodeURIComponent(role)}.json`
      files[role === 'timestamp' ? name : `${version}.${name}`] = text
    }
    return files
  }
}

function forge(signed: Buffer, { keys, change }: Forgery & { keys: KeyObject[] }): File {
  const value = JSON.parse(signed.toString()) as Json
  change?.(value)
  return { version: Number(value['version']), text: fileText(canonicalize(value), keys) }
}
