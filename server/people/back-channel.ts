import { jwtVerify } from 'jose'
import { z } from 'zod'

import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { KeysUnavailable, type RemoteKeys, remoteKeys, signatureAlgorithms } from '../jwks.ts'
import type { Provider } from './provider.ts'
import { endSessions } from './sessions.ts'
import { findProviderPerson } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

const logoutEvent = 'http://schemas.openid.net/event/backchannel-logout'
const maxAgeSeconds = 300
const toleranceSeconds = 60

export const LogoutForm = z.object({ logout_token: z.string().min(1).max(16_384) })

const LogoutClaims = z
  .object({
    iat: z.number(),
    sub: z.string().min(1).max(255).optional(),
    sid: z.string().min(1).max(255).optional(),
    events: z.object({ [logoutEvent]: z.looseObject({}) }),
    nonce: z.never().optional(),
  })
  .refine(({ sub, sid }) => sub !== undefined || sid !== undefined)

const keySets = new WeakMap<Provider, { uri: string; keys: RemoteKeys }>()

/**
 * The provider ended somebody's session, or all of them (OpenID Connect Back-Channel Logout 1.0 §2.6): ours of that end at once. A token that is
 * shown again ends nothing that began after it was made. Returns how many sessions ended now.
 *
 * @throws DomainError `invalid-request` for a token that does not verify; `busy` when the provider's keys cannot be had
 */
export async function endByProvider(
  deps: Deps,
  provider: Provider,
  { token, requestId, address }: { token: string; requestId: string; address: string },
): Promise<number> {
  const claims = await verified(deps, provider, { token, address })
  const { issuer } = (await provider.configuration()).serverMetadata()
  const now = deps.clock.now()
  return await inTransaction(deps.db, async (tx) => {
    const { sid, sub } = claims
    const person =
      sub === undefined ? undefined : await findProviderPerson(tx, { issuer, subject: sub })
    // Somebody who never signed in here has no session either.
    if (sub !== undefined && !person) return 0
    const which = { sid, personId: person?.id, beganBy: new Date((claims.iat + 1) * 1_000) }
    const ended = await endSessions(tx, which, { reason: 'by-provider', now })
    for (const personId of new Set(ended.map((one) => one.personId))) {
      const sessions = ended.filter((one) => one.personId === personId).map(({ id }) => id)
      await recordAudit(tx, {
        at: now,
        actor: 'system',
        action: 'session.end',
        subject: personId,
        facts: { reason: 'by-provider', sessions },
        requestId,
      })
    }
    return ended.length
  })
}

async function verified(
  deps: Deps,
  provider: Provider,
  { token, address }: { token: string; address: string },
): Promise<z.infer<typeof LogoutClaims>> {
  const metadata = (await provider.configuration()).serverMetadata()
  const keys = keysOf(provider, metadata.jwks_uri)
  try {
    const { payload, protectedHeader } = await jwtVerify(token, keys, {
      issuer: metadata.issuer,
      audience: provider.settings.clientId,
      algorithms: signatureAlgorithms,
      currentDate: deps.clock.now(),
      clockTolerance: toleranceSeconds,
      maxTokenAge: maxAgeSeconds,
      requiredClaims: ['iat', 'events'],
    })
    // An ID token is none: what the type says (§2.4), and what it holds.
    if (!/^(logout\+jwt|jwt)$/i.test(protectedHeader.typ ?? 'jwt')) throw new Error('wrong type')
    return LogoutClaims.parse(payload)
  } catch (error) {
    if (error instanceof KeysUnavailable) {
      const message = 'The keys of the identity provider cannot be had now'
      throw new DomainError('busy', message, { retryAfterSeconds: 5 }, { cause: error })
    }
    noteEvent(deps, {
      source: 'server',
      kind: 'sign-in-refused',
      severity: 'warning',
      facts: { method: 'back-channel-logout', reason: 'not-verified', address },
    })
    throw new DomainError(
      'invalid-request',
      'The logout token does not verify',
      {},
      { cause: error },
    )
  }
}

function keysOf(provider: Provider, uri: string | undefined) {
  if (uri === undefined) throw new DomainError('busy', 'The identity provider names no keys')
  const known = keySets.get(provider)
  if (known?.uri === uri) return known.keys
  const keys = remoteKeys(uri)
  keySets.set(provider, { uri, keys })
  return keys
}
