import { createHash } from 'node:crypto'
import type { TLSSocket } from 'node:tls'

import type { Context } from '../context.ts'
import { type Identity, type Verdict } from '../identity.ts'
import { uuidPattern } from '../ids.ts'
import { Refused } from './refusal.ts'
import type { Session } from './session.ts'

type Deps = Pick<Context, 'identities' | 'connections'>

/**
 * SHA-256 of the DER of the certificate the peer proved to hold, lower hex; undefined when it showed none. A resumed session
 * has the certificate of its first handshake.
 */
export function fingerprintOf(socket: TLSSocket): string | undefined {
  const certificate = socket.getPeerX509Certificate()
  return certificate && createHash('sha256').update(certificate.raw).digest('hex')
}

/**
 * Who may speak on this connection (architecture.md §6), for every CONNECT, TLS resumed or not. The socket enters the
 * index under the id it claims *before* the status is checked, so that a revocation that arrives in between ends
 * it; a claim that is not the certificate's device is refused.
 *
 * @param clientId of the CONNECT, not yet believed
 * @throws Refused with CONNACK code 2 for a wrong client id, 3 when the status is unknown, else 5
 */
export async function identify(deps: Deps, session: Session, clientId: string): Promise<Identity> {
  const { fingerprint, socket } = session
  if (!uuidPattern.test(clientId)) throw new Refused('client-id-mismatch', {}, { returnCode: 2 })
  deps.connections.add(socket, { fingerprint, deviceId: clientId })
  const verdict = await verdictOf(deps, fingerprint)
  if (!verdict.allowed) throw refusedBy(verdict)
  if (verdict.identity.deviceId !== clientId) {
    throw new Refused(
      'client-id-mismatch',
      { deviceId: verdict.identity.deviceId },
      { returnCode: 2 },
    )
  }
  if (socket.destroyed) throw new Refused('connection-broken')
  return verdict.identity
}

/**
 * Asked again when the connection is ready and with every message: the answer may have changed, and the notification of
 * that may be late.
 *
 * @throws Refused when the device or its certificate has lost the right
 */
export function assertStillAllowed(deps: Deps, session: Session): void | Promise<void> {
  const verdict = deps.identities.peek(session.fingerprint)
  if (verdict?.allowed) return
  if (verdict) throw refusedBy(verdict)
  return deps.identities.check(session.fingerprint).then((fresh) => {
    if (!fresh.allowed) throw refusedBy(fresh)
  })
}

async function verdictOf({ identities }: Deps, fingerprint: string): Promise<Verdict> {
  const known = identities.peek(fingerprint)
  if (known) return known
  await identities.check(fingerprint)
  // What `check` answers was read a while ago; memory has also what was announced since.
  return identities.peek(fingerprint) ?? (await identities.check(fingerprint))
}

function refusedBy(verdict: Verdict & { allowed: false }): Refused {
  const { refusal, deviceId } = verdict
  return new Refused(refusal, deviceId === undefined ? {} : { deviceId }, {
    returnCode: refusal === 'status-unknown' ? 3 : 5,
  })
}
