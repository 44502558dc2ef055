import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { type MetadataFile, readNewest, readRoots } from './store.ts'

/** A published file: the exact text that is served. Its length and hash are listed in other files. */
export interface PublishedFile {
  repository: 'image' | 'director'
  role: string
  version: number
  text: string
  expiresAt: Date
  publishedAt: Date
}

/** What the two repositories say now, by role: only the newest versions, which belong together. */
export interface CurrentMetadata {
  /** `root`, `targets`, `snapshot`, `timestamp` and `fw-<model>`. */
  image: ReadonlyMap<string, PublishedFile>
  director: { root: PublishedFile }
  /** Every root text, in order: the first is version 1. Kept for ever (updates.md 3.4). */
  roots: { image: readonly string[]; director: readonly string[] }
}

/** Undefined while no roots are imported. */
export async function readCurrent(db: Db): Promise<CurrentMetadata | undefined> {
  const newest = (await readNewest(db)).map(published)
  const roots = (await readRoots(db)).map(published)
  const root = newest.find(({ repository, role }) => repository === 'director' && role === 'root')
  if (!root) return undefined
  const textsOf = (name: string) =>
    roots.filter(({ repository }) => repository === name).map(({ text }) => text)
  const image = newest.filter(({ repository }) => repository === 'image')
  return {
    image: new Map(image.map((file) => [file.role, file])),
    director: { root },
    roots: { image: textsOf('image'), director: textsOf('director') },
  }
}

/** As `readCurrent`, for what cannot be done without. Throws DomainError `not-ready`, naming the command that helps. */
export async function requireCurrent(db: Db): Promise<CurrentMetadata> {
  const current = await readCurrent(db)
  if (current) return current
  throw new DomainError(
    'not-ready',
    'No root metadata is imported yet: run "fleetseal sign init" where the role keys shall be kept (with --evaluation to try the product out), then import the public.json it writes',
    { command: 'fleetseal sign init' },
  )
}

/** A file that the current set must have. */
export function fileOf(current: CurrentMetadata, role: string): PublishedFile {
  const file = current.image.get(role)
  if (!file) throw new DomainError('not-ready', `The role ${role} is not published yet`, { role })
  return file
}

export function published(row: MetadataFile): PublishedFile {
  const { repository, role, version, envelope, expires_at: expiresAt, published_at: at } = row
  if (envelope === null || at === null) throw new Error(`${role} ${version} is not published`)
  return { repository, role, version, text: envelope, expiresAt, publishedAt: at }
}

/** A published set hardly changes; a poll must not read it again and again. */
const rememberedMs = 1_000
const remembered = new WeakMap<Db, { until: number; current: CurrentMetadata | undefined }>()

/** `readCurrent` that may be a second old: what it gives was published, only perhaps not last. */
export async function recentCurrent(db: Db): Promise<CurrentMetadata | undefined> {
  const known = remembered.get(db)
  if (known && known.until > performance.now()) return known.current
  const current = await readCurrent(db)
  remembered.set(db, { until: performance.now() + rememberedMs, current })
  return current
}

/** After a publication by this process, and when something newer is known to exist. */
export function forgetCurrent(db: Db): void {
  remembered.delete(db)
}
