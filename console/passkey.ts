import {
  browserSupportsWebAuthn,
  type PublicKeyCredentialCreationOptionsJSON,
  type PublicKeyCredentialRequestOptionsJSON,
  startAuthentication,
  startRegistration,
} from '@simplewebauthn/browser'

import { call } from './api.ts'

interface Offer {
  ticket: string
  options: unknown
}

export function canPasskeys(): boolean {
  return browserSupportsWebAuthn()
}

/** Asks the browser for a passkey, and gives what the server wants to see of it. */
export async function showPasskey(offer: Offer) {
  // The server makes them with the other half of the library.
  const optionsJSON = offer.options as PublicKeyCredentialRequestOptionsJSON
  const response = await startAuthentication({ optionsJSON })
  return { ticket: offer.ticket, kind: 'passkey' as const, response }
}

/** Has the browser make a passkey. */
export async function makePasskey(offer: Offer) {
  const optionsJSON = offer.options as PublicKeyCredentialCreationOptionsJSON
  const response = await startRegistration({ optionsJSON })
  return { ticket: offer.ticket, kind: 'passkey' as const, response }
}

/** Signs in with a passkey alone, or as the second factor of a ticket. */
export async function signInWithPasskey(ticket?: string): Promise<void> {
  const offer = await call<Offer>(
    'POST',
    ticket === undefined ? '/sign-in/passkey' : '/sign-in/second-factor/passkey',
    ticket === undefined ? {} : { ticket },
  )
  await call('POST', '/sign-in/second-factor', await showPasskey(offer))
}
