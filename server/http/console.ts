import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { createRequire, stripTypeScriptTypes } from 'node:module'
import { dirname, extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { type RequestHandler, type Response, Router } from 'express'

import { DomainError } from '../errors.ts'

const folder = fileURLToPath(new URL('../../console/', import.meta.url))
const passkeyLibrary = '@simplewebauthn/browser'
const vendorPath = '/console/vendor/webauthn/'

/**
 * Only what this server sends, nothing inline, no text taken for markup (Trusted Types): a name that a device gives itself cannot become a script.
 */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ')

const features =
  'publickey-credentials-get=(self), publickey-credentials-create=(self), camera=(), geolocation=(), microphone=(), payment=(), usb=()'

interface Asset {
  type: string
  bytes: Buffer
  etag: string
}

/**
 * The web console at `/`: files of `console/` as they are, TypeScript with its types taken out. All is read when the server starts, so that a request
 * touches no file and what is served is one version.
 */
export function consoleRouter(): Router {
  const router = Router({ strict: false })
  const assets = readAssets()
  const index = asset('index.html')
  router.get('/', secured('/'), (_req, res) => send(res, index))
  router.get('/console/*path', secured('/console'), (req, res) => {
    const found = assets.get(req.path)
    if (!found) throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
    // Kept, and asked about each time: a new version is seen at once.
    res.setHeader('Cache-Control', 'no-cache')
    res.setHeader('ETag', found.etag)
    if (req.get('if-none-match') === found.etag) res.status(304).end()
    else send(res, found)
  })
  for (const path of ['/', '/console/*path']) {
    router.all(path, (_req, res) => {
      res.setHeader('Allow', 'GET, HEAD')
      throw new DomainError('method-not-allowed', 'Use GET')
    })
  }
  return router
}

function secured(route: string): RequestHandler {
  return (_req, res, next) => {
    res.locals['route'] = route
    res.setHeader('Content-Security-Policy', policy)
    res.setHeader('Permissions-Policy', features)
    next()
  }
}

function send(res: Response, { type, bytes }: Asset): void {
  res.type(type).send(bytes)
}

function readAssets(): ReadonlyMap<string, Asset> {
  const own = readdirSync(folder)
    .filter((name) => Object.hasOwn(types, extname(name)) && name !== 'index.html')
    .map((name) => [`/console/${name}`, asset(name)] as const)
  return new Map([...own, ...vendorAssets()])
}

const types: Readonly<Record<string, string>> = {
  '.html': 'text/html',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.ts': 'text/javascript',
}

function asset(name: string): Asset {
  const type = types[extname(name)] ?? 'application/octet-stream'
  const bytes = readFileSync(join(folder, name))
  return made(type, name.endsWith('.ts') ? Buffer.from(asScript(bytes.toString())) : bytes)
}

/** Line by line the same text, with blanks for types; the one library by the address that we serve it at. */
function asScript(source: string): string {
  return stripTypeScriptTypes(source).replace(
    `from '${passkeyLibrary}'`,
    `from '${vendorPath}index.js'`,
  )
}

function vendorAssets(): (readonly [path: string, asset: Asset])[] {
  const root = dirname(createRequire(import.meta.url).resolve(`${passkeyLibrary}`))
  const esm = join(root, '..', 'esm')
  return readdirSync(esm, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.js'))
    .map((entry) => {
      const path = join(entry.parentPath, entry.name)
      const below = path.slice(esm.length + 1).replaceAll('\\', '/')
      return [`${vendorPath}${below}`, made('text/javascript', readFileSync(path))] as const
    })
}

function made(type: string, bytes: Buffer): Asset {
  const digest = createHash('sha256').update(bytes).digest('base64url').slice(0, 22)
  return { type, bytes, etag: `"${digest}"` }
}
