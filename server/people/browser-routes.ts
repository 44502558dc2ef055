import express, { type Request, type Response, Router } from 'express'
import * as oidc from 'openid-client'

import { unwrapKey } from '../../pki/wrap.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { assertOwnPage } from '../http/origin.ts'
import { asDomainError } from '../http/problem.ts'
import { parse } from '../http/route.ts'
import { BeginLimit } from '../operators/failure-limit.ts'
import { attemptCookie, attemptCookieName, type Browser, browserOf } from './attempt.ts'
import { endByProvider, LogoutForm } from './back-channel.ts'
import {
  beginOidcSignIn,
  completeOidcSignIn,
  hintContext,
  noteRefusedSignIn,
} from './oidc-sign-in.ts'
import { Provider } from './provider.ts'
import {
  cookieIn,
  hashSecret,
  noSessionCookie,
  sessionCookie,
  sessionSecretIn,
} from './session-cookie.ts'
import { endSessions, lookUpSession } from './sessions.ts'
import { signInPage } from './sign-in-page.ts'

/**
 * What a browser does to sign in at a provider and to sign out. Not below `/api/v1`: people's browsers are sent here, and the provider is told these
 * addresses.
 */
export function browserRouter(ctx: Context): Router {
  const router = Router()
  const provider = ctx.config.oidc && new Provider(ctx, ctx.config.oidc)
  const limit = new BeginLimit()
  const form = express.urlencoded({
    extended: false,
    limit: '20kb',
    parameterLimit: 10,
    inflate: false,
  })
  router.get('/sign-in/oidc', async (req, res) => {
    await asPage(req, res, async () => {
      limit.begin(addressOf(req), ctx.clock.now())
      await begin(ctx, needed(provider), { req, res })
    })
  })
  router.get('/sign-in/oidc/callback', async (req, res) => {
    await asPage(req, res, async () => await complete(ctx, needed(provider), { req, res }))
  })
  router.post('/sign-in/oidc/back-channel-logout', form, async (req, res) => {
    const { logout_token: token } = parse(LogoutForm, req.body, 'body')
    const requestId = String(res.locals['requestId'] ?? '')
    await endByProvider(ctx, needed(provider), { token, requestId, address: addressOf(req) })
    res.status(200).end()
  })
  router.post('/sign-out', async (req, res) => {
    assertOwnPage(req, ctx.config)
    res.json({ endSessionUrl: await signOut(ctx, provider, { req, res }) })
  })
  for (const [path, method] of methods) {
    router.all(path, (_req, res) => {
      res.setHeader('Allow', method)
      throw new DomainError('method-not-allowed', `Use ${method}`)
    })
  }
  return router
}

const methods = [
  ['/sign-in/oidc', 'GET'],
  ['/sign-in/oidc/callback', 'GET'],
  ['/sign-in/oidc/back-channel-logout', 'POST'],
  ['/sign-out', 'POST'],
] as const

interface Exchange {
  req: Request
  res: Response
}

async function begin(ctx: Context, provider: Provider, { req, res }: Exchange): Promise<void> {
  const browser = browserIn(req)
  const { returnTo, stepUp } = req.query
  const sessionId = stepUp === undefined ? undefined : await sessionIn(ctx, req)
  const url = await beginOidcSignIn(ctx, provider, { browser, returnTo, sessionId })
  res.setHeader('Set-Cookie', attemptCookie(browser))
  res.redirect(303, url.href)
}

async function sessionIn(ctx: Context, req: Request): Promise<string> {
  const secret = sessionSecretIn(req.get('cookie'))
  const hash = secret === undefined ? undefined : hashSecret(secret)
  const now = ctx.clock.now()
  const answer = hash && (await lookUpSession(ctx.db, ctx.config, { hash, now }))
  if (!answer || answer.refusal !== undefined) {
    throw new DomainError('not-authenticated', 'You are not signed in: sign in first')
  }
  return answer.found.id
}

async function complete(ctx: Context, provider: Provider, { req, res }: Exchange): Promise<void> {
  const address = addressOf(req)
  const { state } = req.query
  const search = new URL(req.originalUrl, ctx.config.publicUrl).search
  try {
    if (typeof state !== 'string' || state.length > 200 || search.length > 8_192) {
      throw new DomainError('invalid-request', 'This is not the answer of an identity provider')
    }
    const session = await completeOidcSignIn(ctx, provider, {
      search,
      state,
      browser: browserIn(req),
      address,
      userAgent: req.get('user-agent'),
      requestId: String(res.locals['requestId'] ?? ''),
    })
    res.setHeader('Set-Cookie', sessionCookie(session.secret))
    res.redirect(303, session.returnTo)
  } catch (error) {
    noteRefusedSignIn(ctx, error, address)
    throw error
  }
}

/** Ends the session of the cookie, whatever it is worth, and says where the provider's own session is ended. */
async function signOut(
  ctx: Context,
  provider: Provider | undefined,
  { req, res }: Exchange,
): Promise<string | null> {
  const secret = sessionSecretIn(req.get('cookie'))
  res.setHeader('Set-Cookie', noSessionCookie())
  if (secret === undefined) return null
  const now = ctx.clock.now()
  const { found } = await lookUpSession(ctx.db, ctx.config, { hash: hashSecret(secret), now })
  if (!found) return null
  await inTransaction(ctx.db, async (tx) => {
    const which = { id: found.id, personId: found.person_id }
    const ended = await endSessions(tx, which, { reason: 'signed-out', now })
    if (ended.length === 0) return
    await recordAudit(tx, {
      at: now,
      actor: `user:${found.person_id}`,
      action: 'session.end',
      subject: found.person_id,
      facts: { reason: 'signed-out', sessions: [found.id] },
      requestId: String(res.locals['requestId'] ?? ''),
    })
  })
  if (found.method !== 'oidc' || !provider) return null
  return await endSessionUrl(ctx, provider, { personId: found.person_id, hint: found.oidc_hint })
}

/** RP-Initiated Logout 1.0 §2. Null when the provider has none, or does not answer: here the session has ended all the same. */
async function endSessionUrl(
  { config, kek }: Pick<Context, 'config' | 'kek'>,
  provider: Provider,
  session: { personId: string; hint: Buffer | null },
): Promise<string | null> {
  const configuration = await provider.configuration().catch(() => undefined)
  if (configuration?.serverMetadata().end_session_endpoint === undefined) return null
  const hint = session.hint && openHint(kek, session.hint, session.personId)
  return oidc.buildEndSessionUrl(configuration, {
    post_logout_redirect_uri: `${config.publicUrl}/`,
    ...(hint ? { id_token_hint: hint } : {}),
  }).href
}

/** Undefined after the key-encryption key was changed: the provider then asks whether it is meant. */
function openHint(kek: Buffer, hint: Buffer, personId: string): string | undefined {
  try {
    return unwrapKey(kek, hint, hintContext(personId)).toString()
  } catch {
    return undefined
  }
}

/** A person looks at the answer: a refusal is a page for whoever wants one, and a problem for the rest. */
async function asPage(req: Request, res: Response, work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch (error) {
    const known = asDomainError(error)
    if (!known || req.accepts(['json', 'html']) !== 'html') throw error
    res.locals['problem'] = known.code
    const status = known.code === 'busy' ? 503 : known.code === 'not-allowed' ? 403 : 400
    const requestId = String(res.locals['requestId'] ?? '')
    res
      .status(status)
      .type('html')
      .send(signInPage({ message: known.message, requestId }))
  }
}

function browserIn(req: Request): Browser {
  return browserOf(cookieIn(req.get('cookie'), attemptCookieName))
}

function addressOf(req: Request): string {
  return req.socket.remoteAddress ?? 'unknown'
}

function needed(provider: Provider | undefined): Provider {
  if (provider) return provider
  const message = 'Signing in at an identity provider is not set up: set FLEETSEAL_OIDC_ISSUER'
  throw new DomainError('not-found', message)
}
