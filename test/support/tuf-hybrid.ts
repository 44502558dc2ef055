import { type KeyObject, sign } from 'node:crypto'

import { canonicalize } from '../../pki/tuf/canonical.ts'
import { keyId, type TufKey } from '../../pki/tuf/keys.ts'
import { generatePqKey, pqTufKeyOf } from '../../pki/tuf/post-quantum.ts'
import type { World } from './tuf-fixture.ts'
import { at, type Change, type Json, type Repository } from './tuf-repository.ts'

/** Who signs what besides Ed25519; ML-DSA-44, because it is the quickest. */
export interface PqKeys {
  director: KeyObject[]
  root: KeyObject[]
  targets: KeyObject[]
  release: KeyObject[]
}

const makePqKeys = (count: number): KeyObject[] =>
  Array.from({ length: count }, () => generatePqKey('ml-dsa-44'))

// A key pair costs ten signatures; which one it is makes no difference to any test.
export const pqKeys: PqKeys = {
  director: makePqKeys(2),
  root: makePqKeys(2),
  targets: makePqKeys(2),
  release: makePqKeys(3),
}

export function named(keys: readonly KeyObject[]): Record<string, TufKey> {
  return Object.fromEntries(keys.map(pqTufKeyOf).map((key) => [keyId(key), key]))
}

export function role(keys: readonly KeyObject[], threshold = 2): object {
  return { keyids: Object.keys(named(keys)), threshold }
}

export interface PqSigning {
  /** By default each under its own id. */
  keyids?: string[]
  context?: string
}

/** The file with post-quantum signatures added before `signed` (updates.md 10). */
export function withPq(
  text: string,
  keys: readonly KeyObject[],
  { keyids = Object.keys(named(keys)), context = 'fleetseal-tuf-v1' }: PqSigning = {},
): string {
  const { signatures, signed } = JSON.parse(text)
  const bytes = canonicalize(signed)
  const options = context === '' ? {} : { context: Buffer.from(context) }
  const pq = keys.map((key, index) => ({
    keyid: keyids[index] ?? '',
    sig: sign(null, bytes, { key, ...options }).toString('base64'),
  }))
  return `{"signatures":${canonicalize(signatures).toString()},"x-pq-signatures":${canonicalize(pq).toString()},"signed":${bytes.toString()}}`
}

/** The same file without one of its two lists of signatures. */
export function without(text: string, list: 'signatures' | 'x-pq-signatures'): string {
  const file = JSON.parse(text)
  return JSON.stringify({ ...file, [list]: [] })
}

export function replaceFile(
  repository: Repository,
  name: string,
  change: (text: string) => string,
): void {
  const { text, version } = repository.file(name)
  repository.files.set(name, { version, text: change(text) })
}

/** A new root that names ML-DSA keys and requires them from now on, signed by both kinds. */
export function publishHybridRoot(
  repository: Repository,
  name: 'director' | 'image',
  { change }: { change?: Change } = {},
): void {
  const keys = name === 'director' ? pqKeys.director : pqKeys.root
  const targets = name === 'image' ? pqKeys.targets : []
  repository.publishRoot({
    change: (signed) => {
      Object.assign(signed, {
        'x-pq-keys': { ...named(keys), ...named(targets) },
        'x-pq-roles': { root: role(keys), ...(name === 'image' && { targets: role(targets) }) },
        'x-pq-required': true,
      })
      change?.(signed)
    },
  })
  const last = repository.roots.pop() ?? ''
  repository.roots.push(withPq(last, keys))
}

/** What image `targets` says about who signs firmware besides. */
export function delegateHybrid(
  world: World,
  {
    keys = pqKeys.release,
    keyids = Object.keys(named(keys)),
  }: {
    keys?: KeyObject[]
    keyids?: string[]
  } = {},
): void {
  world.publishDelegations({
    change: (signed) => {
      const own = keys.map((key, index) => [keyids[index] ?? '', pqTufKeyOf(key)])
      at(['x-pq-keys'], Object.fromEntries(own) as Json)(signed)
      at(['delegations', 'roles', 0, 'x-pq'], { keyids, threshold: 2 })(signed)
    },
  })
  replaceFile(world.image, 'targets', (text) => withPq(text, pqKeys.targets))
  world.publishSnapshot()
}

/** Firmware signed by two release keys of each kind. */
export function signFirmware(world: World, change: (text: string) => string): void {
  world.publishFirmware()
  replaceFile(world.image, 'fw-gate-2', change)
  world.publishSnapshot()
}

/** Turns an honest world into one in which both roots require post-quantum signatures. */
export function makeHybrid(world: World): void {
  publishHybridRoot(world.director, 'director')
  publishHybridRoot(world.image, 'image')
  delegateHybrid(world)
  signFirmware(world, (text) => withPq(text, pqKeys.release.slice(0, 2)))
}
