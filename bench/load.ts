import { createSecureContext, type SecureContext } from 'node:tls'

export interface Client {
  deviceId: string
  /** Made once: parsing keys is the load's cost, not the server's. */
  context: SecureContext
}

export function clientOf(deviceId: string, key: string, cert: string, ca: string): Client {
  return { deviceId, context: createSecureContext({ key, cert, ca, minVersion: 'TLSv1.3' }) }
}
