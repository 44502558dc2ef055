import { type Response, Router } from 'express'

import type { Context } from '../context.ts'
import { directorFile, directorTimestamp } from '../director/files.ts'
import { DomainError } from '../errors.ts'
import type { Identity } from '../identity.ts'
import { recentCurrent } from './current.ts'
import { findVersion } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'kek' | 'log' | 'metrics'>

/**
 * Metadata files for devices and stock TUF clients (updates.md 2.1): `/tuf/image/<file>`, and `/tuf/director/<file>` of the
 * device whose certificate opened the connection (`res.locals.identity`). `?nonce=` (32 hex) of the director's timestamp proves the
 * time. What does not exist is 404: clients walk roots until then (TUF 1.0.34 section 5.3).
 */
export function tufRouter(ctx: Deps): Router {
  const router = Router()
  router.get('/tuf/image/:file', async (req, res) => {
    identityOf(res)
    const name = parseFileName(req.params.file)
    if (name?.version === undefined)
      return send(res, name && (await imageTimestamp(ctx)), 'no-store')
    send(res, await versioned(ctx, 'image', name), immutable)
  })
  router.get('/tuf/director/:file', async (req, res) => {
    const { deviceId } = identityOf(res)
    const name = parseFileName(req.params.file)
    if (name?.version === undefined) {
      const nonce = nonceIn(req.query['nonce'])
      return send(res, name && (await directorTimestamp(ctx, deviceId, nonce)), 'no-store')
    }
    const text =
      name.role === 'root'
        ? await versioned(ctx, 'director', name)
        : await directorFile(ctx.db, deviceId, name)
    // Of this device alone, and a version of it is replaced, never changed.
    send(res, text, immutable)
  })
  return router
}

/** Shared caches have no certificate, so they may not answer in our place. */
const immutable = 'private, max-age=31536000, immutable'

interface FileName {
  role: string
  version: number
}

/** `timestamp.json` or `<version>.<role>.json`; Express has undone the percent-encoding of the role. */
function parseFileName(file: string): FileName | { version: undefined } | undefined {
  if (file === 'timestamp.json') return { version: undefined }
  const [, version, role = ''] = /^([1-9][0-9]{0,14})\.([^/]{1,128})\.json$/.exec(file) ?? []
  return version === undefined || role === 'timestamp'
    ? undefined
    : { role, version: Number(version) }
}

async function versioned(
  { db }: Deps,
  repository: 'image' | 'director',
  { role, version }: FileName,
): Promise<string | undefined> {
  const file = await findVersion(db, { repository, role, version })
  // A draft has no envelope: what is not signed to its threshold is never served.
  return file?.state === 'published' ? (file.envelope ?? undefined) : undefined
}

async function imageTimestamp({ db }: Deps): Promise<string | undefined> {
  return (await recentCurrent(db))?.image.get('timestamp')?.text
}

function send(res: Response, text: string | undefined, cacheControl: string): void {
  if (text === undefined) throw new DomainError('not-found', 'No such metadata file')
  res.set({ 'Cache-Control': cacheControl, 'Content-Type': 'application/json' })
  // Exactly these bytes were signed and hashed.
  res.end(text)
}

function nonceIn(value: unknown): string | undefined {
  if (value === undefined) return undefined
  if (typeof value === 'string' && /^[0-9a-f]{32}$/.test(value)) return value
  throw new DomainError('invalid-request', 'nonce is 32 lower hex digits', { at: 'nonce' })
}

function identityOf(res: Response): Identity {
  const identity: unknown = res.locals['identity']
  if (!identity) throw new DomainError('not-authenticated', 'A device certificate is needed')
  // Set by http/device-auth.ts and by nothing else.
  return identity as Identity
}
