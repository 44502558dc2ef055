import { TLSSocket } from 'node:tls'

import type { Request } from 'express'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { assertOwnPage } from '../http/origin.ts'
import { leafOf } from '../peer-leaf.ts'
import { sessionSecretIn } from '../people/session-cookie.ts'
import { sessionCredential } from '../people/session-credential.ts'
import type { WorkloadVerifier } from '../workloads/verify.ts'
import { certificateCredential } from './certificate-credential.ts'
import type { Credential } from './credential.ts'
import { keyCredential } from './key-credential.ts'

type Deps = Pick<Context, 'db' | 'config'>

/**
 * What a request shows: an `Authorization` header (an API key, or the token of a pipeline), or the cookie of a session, or a client certificate, in
 * this order. Undefined without any, or for what cannot be one of ours.
 *
 * @throws DomainError `invalid-request` for a header and a session together: which of the two is meant would be a guess; `not-allowed` for a change that
 * a browser sends by itself and that comes from no page of this server
 */
export function credentialIn(
  deps: Deps,
  workloads: WorkloadVerifier,
  req: Request,
): Credential | undefined {
  const authorization = req.get('authorization')
  const session = sessionSecretIn(req.get('cookie'))
  if (authorization !== undefined) {
    if (session !== undefined) {
      const message = 'Send either an Authorization header or the cookie of a session, not both'
      throw new DomainError('invalid-request', message)
    }
    return bearer(deps, workloads, authorization)
  }
  const certificate = session === undefined ? certificateIn(req) : undefined
  if (session === undefined && certificate === undefined) return undefined
  const isBrowser = req.get('origin') !== undefined || req.get('sec-fetch-site') !== undefined
  if (changes(req) && (session !== undefined || isBrowser)) assertOwnPage(req, deps.config)
  return session === undefined
    ? certificate && certificateCredential(deps, certificate)
    : sessionCredential(deps, session)
}

function bearer(
  deps: Deps,
  workloads: WorkloadVerifier,
  authorization: string,
): Credential | undefined {
  const [, token] = /^Bearer +(\S{1,8192})$/i.exec(authorization) ?? []
  if (token === undefined) return undefined
  return keyCredential(deps, token) ?? workloads.credential(token)
}

function certificateIn({ socket }: Request): Buffer | undefined {
  // Of a resumed session too, where OpenSSL keeps the certificate of the first handshake.
  return socket instanceof TLSSocket ? leafOf(socket)?.raw : undefined
}

function changes({ method }: Request): boolean {
  return method !== 'GET' && method !== 'HEAD' && method !== 'OPTIONS'
}
