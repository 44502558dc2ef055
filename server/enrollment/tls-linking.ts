import { timingSafeEqual } from 'node:crypto'
import { TLSSocket } from 'node:tls'

import { DomainError } from '../errors.ts'

/**
 * RFC 7030 §3.5: a challengePassword in an EST request is the base64 of this connection's tls-unique, which ties the request to
 * the handshake. TLS 1.3 has none; there the value of RFC 9266 (tls-exporter) is taken.
 *
 * @throws DomainError `invalid-request` when it is anything else
 */
export function assertLinked(
  challenge: string | undefined,
  socket: unknown,
  { channelBinding }: { channelBinding: 'optional' | 'required' },
): void {
  if (challenge === undefined) {
    if (channelBinding === 'optional') return
    throw new DomainError(
      'invalid-request',
      'This profile wants the binding of the TLS connection as challengePassword (RFC 7030 §3.5)',
    )
  }
  const expected = socket instanceof TLSSocket ? bindingOf(socket) : undefined
  const given = Buffer.from(challenge, 'base64')
  const isEqual = expected?.length === given.length && timingSafeEqual(expected, given)
  if (!isEqual) {
    throw new DomainError(
      'invalid-request',
      'The challengePassword is not the binding of this TLS connection',
    )
  }
}

function bindingOf(socket: TLSSocket): Buffer | undefined {
  if (socket.getProtocol() === 'TLSv1.3') {
    return socket.exportKeyingMaterial(32, 'EXPORTER-Channel-Binding', Buffer.alloc(0))
  }
  // tls-unique is the first Finished message: the client's in a full handshake, the server's in a resumed one.
  return (socket.isSessionReused() ? socket.getFinished() : socket.getPeerFinished()) ?? undefined
}
