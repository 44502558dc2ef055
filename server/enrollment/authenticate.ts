import type { Request } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import { type ClientCertificate, refusedBy } from '../http/device-auth.ts'
import { FailureLimit, networkOf } from '../operators/failure-limit.ts'
import { authenticateCertificate } from './certificate-auth.ts'
import { basicCredentials } from './est-format.ts'
import { assertNetwork } from './networks.ts'
import { findProfile } from './store.ts'
import { type Authenticated, createTokenAuthenticator } from './token-auth.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics'>

/** Who asks for a first certificate, and in which profile. One for all connections of a process. */
export type EnrollmentAuthenticator = (
  req: Request,
  certificate: ClientCertificate,
  label: string | undefined,
) => Promise<Authenticated>

/**
 * Enrollment is authenticated by a token (HTTP Basic) or, without one, by a claim certificate or a manufacturer's from the
 * handshake. A certificate of ours that has lost its right opens nothing, with whatever else it comes.
 *
 * @returns a function that throws DomainError `not-authenticated`, `not-allowed`, `rate-limited`, `busy`
 */
export function createEnrollmentAuthenticator(deps: Deps): EnrollmentAuthenticator {
  const byToken = createTokenAuthenticator(deps)
  const failures = new FailureLimit()
  return async (req, certificate, label) => {
    const address = req.socket.remoteAddress ?? 'unknown'
    const authorization = req.get('authorization')
    const isUnknown =
      certificate.status === 'refused' && certificate.refusal === 'unknown-certificate'
    if (certificate.status === 'refused' && (!isUnknown || authorization !== undefined)) {
      throw refusedBy(certificate.refusal)
    }
    const credentials = basicCredentials(authorization)
    if (credentials) return fromHere(deps, await byToken(credentials, { label, address }), address)
    if (!isUnknown && certificate.status !== 'untrusted') throw await missing(deps, label)
    const found = await authenticateCertificate(deps, req.socket, label)
    if (found) return fromHere(deps, found, address)
    // Asked only now, as with tokens: whoever tries wrong ones locks out no device behind the same address.
    const place = networkOf(address)
    const now = deps.clock.now()
    if (!failures.allows(place, now)) {
      throw new DomainError(
        'rate-limited',
        'Too many wrong certificates from this address: wait a minute',
      )
    }
    const isLast = failures.failed(place, now)
    noteEvent(deps, {
      source: 'server',
      kind: isLast ? 'enrollment-rate-limited' : 'enrollment-certificate-refused',
      severity: 'warning',
      facts: { profile: label ?? null, address },
    })
    throw await missing(deps, label)
  }
}

/** What opens a profile opens it from its networks only. */
function fromHere(deps: Deps, found: Authenticated, address: string): Authenticated {
  try {
    assertNetwork(found.profile, address)
    return found
  } catch (error) {
    const { id, kind } = found.token
    noteEvent(deps, {
      source: 'server',
      kind: 'enrollment-refused',
      severity: 'warning',
      facts: {
        profile: found.profile.name,
        credential: { id, kind },
        reason: 'source-network',
        address,
      },
    })
    throw error
  }
}

/** 401 invites a token, so it is for profiles that take one (pki.md §8.2). */
async function missing({ db }: Deps, label: string | undefined): Promise<DomainError> {
  const profile = label === undefined ? undefined : await findProfile(db, { name: label })
  return profile && profile.auth_type !== 'token'
    ? new DomainError('not-allowed', 'Show a certificate of this production line in the handshake')
    : new DomainError('not-authenticated', 'Send the profile and its token by HTTP Basic')
}
