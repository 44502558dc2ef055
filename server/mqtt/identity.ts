import { hash } from 'node:crypto'

import type { Context } from '../context.ts'
import { type Identity, type Verdict } from '../identity.ts'
import { uuidPattern } from '../ids.ts'
import { partWith } from './part.ts'
import { Refused } from './refusal.ts'
import type { Session } from './session.ts'

type Deps = Pick<Context, 'identities' | 'connections'>

/** SHA-256 of the DER, lower hex. */
export function fingerprintOf({ raw }: { raw: Buffer }): string {
  return hash('sha256', raw, 'hex')
}

/**
 * Who may speak on this connection (architecture.md §6), for every CONNECT, TLS resumed or not. The socket enters the
 * index under the id it claims *before* the status is checked, so that a revocation that arrives in between ends
 * it; a claim that is not the certificate's device is refused.
 *
 * A promise only for a certificate this process has not met, and for all while changes may have been missed: then the
 * database is asked. Otherwise what memory knows is answered at once.
 *
 * @param clientId of the CONNECT, not yet believed
 * @throws Refused with CONNACK code 2 for a wrong client id, 3 when the status is unknown, else 5
 */
export function identify(
  deps: Deps,
  session: Session,
  clientId: string,
): Identity | Promise<Identity> {
  const { fingerprint, socket } = session
  if (!uuidPattern.test(clientId)) throw new Refused('client-id-mismatch', {}, { returnCode: 2 })
  deps.connections.add(socket, { fingerprint, deviceId: clientId }, partWith)
  const isCertain = deps.identities.mayHaveMissed?.() !== true
  const known = isCertain ? deps.identities.peek(fingerprint) : undefined
  if (known) return admitted(known, session, clientId)
  return verdictOf(deps, fingerprint).then((verdict) => admitted(verdict, session, clientId))
}

function admitted(verdict: Verdict, { socket }: Session, clientId: string): Identity {
  if (!verdict.allowed) throw refusedBy(verdict)
  if (verdict.identity.deviceId !== clientId) {
    throw new Refused(
      'client-id-mismatch',
      { deviceId: verdict.identity.deviceId },
      { returnCode: 2 },
    )
  }
  if (socket.destroyed || socket.writableEnded) throw new Refused('connection-broken')
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
  const checked = await identities.check(fingerprint)
  // Memory may not know of it, and has no say when the database could not be asked.
  if (!checked.allowed) return checked
  // What `check` answers was read a while ago; memory has also what was announced since.
  return identities.peek(fingerprint) ?? (await identities.check(fingerprint))
}

function refusedBy(verdict: Verdict & { allowed: false }): Refused {
  const { refusal, deviceId } = verdict
  return new Refused(refusal, deviceId === undefined ? {} : { deviceId }, {
    returnCode: refusal === 'status-unknown' ? 3 : 5,
  })
}
