import * as oidc from 'openid-client'

import { wrapKey } from '../../pki/wrap.ts'
import { rolesAmong, setGrants } from '../access/grant-service.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { storable } from '../db/storable.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { newId } from '../ids.ts'
import type { MappedRole } from '../sign-in-config.ts'
import { groupIdsNamed } from './attempt-store.ts'
import { beginAttempt, type Browser, completeAttempt, safeReturnTo, secretsOf } from './attempt.ts'
import { mappedRoles } from './claims.ts'
import type { Provider } from './provider.ts'
import { createSession, endSessions, renewSession } from './sessions.ts'
import {
  findProviderPerson,
  getPerson,
  insertPerson,
  lockPerson,
  noteSignIn,
  type Person,
} from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config' | 'kek' | 'log' | 'metrics'>

export const hintContext = (personId: string) => `oidc-hint:${personId}`
/** How far apart the clocks of a provider and of this server may be. */
const toleranceSeconds = 60
const maxHintBytes = 8_192

/** Where the browser goes to sign in, or, for a session, to be asked for the password once more. */
export async function beginOidcSignIn(
  deps: Deps,
  provider: Provider,
  given: { browser: Browser; returnTo: unknown; sessionId?: string | undefined },
): Promise<URL> {
  const configuration = await provider.configuration()
  const { browser, sessionId } = given
  const returnTo = safeReturnTo(given.returnTo)
  const { state } = await beginAttempt(deps, { browser, sessionId, returnTo })
  const { nonce, verifier } = secretsOf(browser, state)
  return oidc.buildAuthorizationUrl(configuration, {
    redirect_uri: redirectUri(deps),
    scope: provider.settings.scopes,
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...(sessionId === undefined ? {} : { prompt: 'login', max_age: '0' }),
  })
}

export interface Callback {
  /** As it came, with `?`. */
  search: string
  state: string
  browser: Browser
  address: string
  userAgent: string | undefined
  requestId: string
}

/**
 * What the browser brought back: a session (OpenID Connect Core §3.1, RFC 7636, RFC 9207), with the roles that the provider's claims name today and no others.
 *
 * @throws DomainError `not-authenticated` for an answer that this browser did not ask for, or that does not verify; `not-allowed` for somebody
 * whom no role is mapped to, or who is disabled; `busy` when the provider does not answer
 */
export async function completeOidcSignIn(
  deps: Deps,
  provider: Provider,
  callback: Callback,
): Promise<{ secret: string; returnTo: string }> {
  const attempt = await completeAttempt(deps, callback)
  if (!attempt) throw refusal('unknown-state')
  const isStepUp = attempt.session_id !== null
  const { claims, issuer, idToken } = await askProvider(deps, provider, { callback, isStepUp })
  const roles = mappedRoles(provider.settings, claims)
  const now = deps.clock.now()
  const session = await inTransaction(deps.db, async (tx) => {
    const person = await personOf(tx, { issuer, claims, now })
    const grants = await grantsFrom(tx, deps, roles)
    const by = { actor: 'system', at: now, requestId: callback.requestId }
    if (person.state === 'active') await setGrants(tx, `user:${person.id}`, grants, by)
    const lacks =
      person.state !== 'active' ? 'disabled-person' : grants.length === 0 ? 'no-role' : undefined
    if (lacks !== undefined) {
      await endSessions(tx, { personId: person.id }, { reason: 'by-provider', now })
      return { lacks, personId: person.id } as const
    }
    return { begun: await begin(tx, deps, { attempt, person, claims, idToken, callback }) } as const
  })
  if ('lacks' in session) throw refusal(session.lacks, session.personId)
  if (session.begun === undefined) throw refusal('other-session')
  return { secret: session.begun, returnTo: attempt.return_to }
}

type Claims = Readonly<Record<string, unknown>> & { readonly sub: string }

async function begin(
  tx: Tx,
  deps: Deps,
  given: {
    attempt: { session_id: string | null }
    person: Person
    claims: Claims
    idToken: string
    callback: Callback
  },
): Promise<string | undefined> {
  const { attempt, person, claims, idToken, callback } = given
  const now = deps.clock.now()
  const audit = { at: now, actor: `user:${person.id}`, requestId: callback.requestId }
  if (attempt.session_id !== null) {
    const renewed = await renewSession(tx, attempt.session_id, { now, personId: person.id })
    if (renewed) {
      const facts = { method: 'oidc', session: attempt.session_id }
      await recordAudit(tx, { ...audit, action: 'session.step-up', subject: person.id, facts })
    }
    return renewed?.secret
  }
  const { address, userAgent } = callback
  const sid = typeof claims['sid'] === 'string' ? claims['sid'].slice(0, 255) : undefined
  const hint =
    idToken.length > maxHintBytes
      ? undefined
      : wrapKey(deps.kek, Buffer.from(idToken), hintContext(person.id))
  const { id, secret } = await createSession(tx, deps.config, {
    personId: person.id,
    method: 'oidc',
    address,
    userAgent,
    now,
    oidc: { sid, hint },
  })
  const facts = { method: 'oidc', session: id, address }
  await recordAudit(tx, { ...audit, action: 'session.begin', subject: person.id, facts })
  return secret
}

async function askProvider(
  deps: Deps,
  provider: Provider,
  { callback, isStepUp }: { callback: Callback; isStepUp: boolean },
): Promise<{ claims: Claims; issuer: string; idToken: string }> {
  const configuration = await provider.configuration()
  const { nonce, verifier } = secretsOf(callback.browser, callback.state)
  const url = new URL(redirectUri(deps))
  url.search = callback.search
  try {
    const tokens = await oidc.authorizationCodeGrant(configuration, url, {
      expectedState: callback.state,
      expectedNonce: nonce,
      pkceCodeVerifier: verifier,
      idTokenExpected: true,
      // `auth_time` has to be there, and no older than the way back takes.
      ...(isStepUp ? { maxAge: toleranceSeconds } : {}),
    })
    const claims = tokens.claims()
    if (!claims || tokens.id_token === undefined) throw new Error('no ID token')
    // Cut short, or with what is not stored taken out, it could be somebody else's (OpenID Connect Core §2).
    if (claims.sub.length > 255 || storable(claims.sub) !== claims.sub)
      throw new Error('no subject')
    const { roleClaim } = provider.settings
    const isTold = mappedRoles(provider.settings, claims).length > 0
    const more =
      isTold || tokens.access_token === undefined
        ? {}
        : await userInfo(configuration, tokens.access_token, claims.sub)
    const { issuer } = configuration.serverMetadata()
    deps.log.debug({ roleClaim, inIdToken: isTold }, 'claims of a sign-in')
    return { claims: { ...more, ...claims }, issuer, idToken: tokens.id_token }
  } catch (error) {
    throw providerProblem(error)
  }
}

/** Claims that a provider does not put into ID tokens. That it has no such endpoint is no failure. */
async function userInfo(
  configuration: oidc.Configuration,
  accessToken: string,
  subject: string,
): Promise<Record<string, unknown>> {
  if (configuration.serverMetadata().userinfo_endpoint === undefined) return {}
  return { ...(await oidc.fetchUserInfo(configuration, accessToken, subject)) }
}

async function personOf(
  tx: Tx,
  { issuer, claims, now }: { issuer: string; claims: Claims; now: Date },
): Promise<Person> {
  const who = { issuer: issuer.slice(0, 500), subject: claims.sub }
  const name = nameIn(claims)
  const email = emailIn(claims)
  const known = await findProviderPerson(tx, who)
  if (!known) {
    const id = newId(now)
    const person = { id, name, email, oidc: who, createdBy: 'system', createdAt: now }
    if (await insertPerson(tx, person)) {
      const facts = { name, email, provider: who }
      const entry = { at: now, actor: 'system', action: 'person.create', subject: id, facts }
      await recordAudit(tx, entry)
      return await getPerson(tx, id)
    }
  }
  const found = known ?? (await findProviderPerson(tx, who))
  if (!found) throw new Error('a person that was inserted by somebody else is not there')
  const person = await lockPerson(tx, found.id)
  await noteSignIn(tx, person.id, { now, name, email })
  return person
}

/**
 * A role that is not there (any more) is left out, or nobody whom the map names it for could sign in at all; and so is a role for groups
 * that are not there: without them it would cover the fleet.
 */
async function grantsFrom(tx: Tx, { log }: Pick<Deps, 'log'>, roles: readonly MappedRole[]) {
  const ids = await groupIdsNamed(tx, [...new Set(roles.flatMap(({ groups }) => groups))])
  const there = await rolesAmong(
    tx,
    roles.map(({ role }) => role),
  )
  return roles.flatMap(({ role, groups }) => {
    if (!there.has(role)) {
      log.warn({ role }, 'FLEETSEAL_OIDC_ROLE_MAP names a role that is not there')
      return []
    }
    const missing = groups.filter((name) => !ids.has(name))
    if (missing.length > 0) {
      log.warn({ role, groups: missing }, 'FLEETSEAL_OIDC_ROLE_MAP names groups that are not there')
      return []
    }
    return [{ role, groupIds: groups.flatMap((name) => ids.get(name) ?? []) }]
  })
}

function nameIn(claims: Claims): string {
  const [name] = [claims['name'], claims['preferred_username'], claims['email'], claims.sub]
    .filter((one) => typeof one === 'string')
    .map((one) => storable(one.slice(0, 100)).trim())
    .filter((one) => one !== '')
  return name ?? 'somebody'
}

function emailIn(claims: Claims): string | null {
  const email = claims['email']
  return typeof email === 'string' && /^[\x21-\x7e]{3,254}$/.test(email) ? email : null
}

export function redirectUri({ config }: Pick<Deps, 'config'>): string {
  return `${config.publicUrl}/sign-in/oidc/callback`
}

/** What somebody may be told; the rest is for the log. */
const words = {
  'unknown-state':
    'This sign-in was not begun in this browser, took longer than 10 minutes, or was completed already: begin again',
  'not-verified': 'What the identity provider said does not verify: begin again',
  'provider-refused': 'The identity provider did not let you in',
  'other-session': 'You signed in as somebody else, or were signed out meanwhile: begin again',
  'disabled-person': 'Your account is disabled here: ask an administrator',
  'no-role': 'The identity provider names no role for you here: ask an administrator',
} as const

type SignInRefusal = keyof typeof words

function refusal(reason: SignInRefusal, personId?: string, cause?: unknown): DomainError {
  const code =
    reason === 'disabled-person' || reason === 'no-role' ? 'not-allowed' : 'not-authenticated'
  const facts = { reason, ...(personId === undefined ? {} : { personId }) }
  return new DomainError(code, words[reason], facts, { cause })
}

/** What went wrong at the provider: down, it said no, or it said what is not so. */
function providerProblem(error: unknown): DomainError {
  if (error instanceof DomainError) return error
  if (error instanceof oidc.AuthorizationResponseError)
    return refusal('provider-refused', undefined, error)
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  const isDown = error instanceof TypeError || code === 'OAUTH_TIMEOUT'
  if (isDown) {
    const message = 'The identity provider does not answer: begin again'
    return new DomainError('busy', message, { retryAfterSeconds: 5 }, { cause: error })
  }
  return refusal('not-verified', undefined, error)
}

/** A sign-in that was refused, for the list of security events. */
export function noteRefusedSignIn(deps: Deps, error: unknown, address: string): void {
  if (!(error instanceof DomainError)) return
  const { reason = error.code, personId } = error.facts
  noteEvent(deps, {
    source: 'server',
    kind: 'sign-in-refused',
    severity: 'warning',
    facts: { method: 'oidc', reason, address, ...(personId === undefined ? {} : { personId }) },
  })
}
