import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'

import {
  type AuthenticationResponseJSON,
  generateAuthenticationOptions,
  generateRegistrationOptions,
  type RegistrationResponseJSON,
  verifyAuthenticationResponse,
  verifyRegistrationResponse,
} from '@simplewebauthn/server'
import type { Request } from 'express'

import type { Config } from '../config.ts'
import { DomainError } from '../errors.ts'
import type { Passkey } from './credential-store.ts'

type HostConfig = Pick<Config, 'publicUrl'>

const promptMs = 5 * 60_000

/** Passkeys belong to a name (WebAuthn section 5.1.3): a server that is known by an address only has none. */
export function hasPasskeys(config: HostConfig): boolean {
  return isIP(nameOf(config).replaceAll(/[[\]]/g, '')) === 0
}

/** The relying party's id: the name under which people open the console. */
function nameOf({ publicUrl }: HostConfig): string {
  return new URL(publicUrl).hostname
}

/** JSON that the browser's part of the library reads; nobody else does. */
export type BrowserOptions = Record<string, unknown>

/** 32 random bytes. */
export function newChallenge(): Buffer {
  return randomBytes(32)
}

/**
 * The origin of the page that asks, which is one of ours: https (or this machine), under the public name.
 *
 * @throws DomainError `invalid-request`
 */
export function originOf(req: Request, config: HostConfig): string {
  const origin = req.get('origin')
  const url = origin === undefined ? null : URL.parse(origin)
  const isSafe = url?.protocol === 'https:' || url?.hostname === 'localhost'
  if (origin === undefined || !isSafe || url?.hostname !== nameOf(config)) {
    throw new DomainError(
      'invalid-request',
      `Passkeys work on pages of ${config.publicUrl} only: open the console there`,
    )
  }
  return origin
}

/** What a browser needs to make a passkey: one that asks for its user's finger, face or PIN, and that can name its account. */
export async function creationOptions(
  config: HostConfig,
  asked: {
    challenge: Buffer
    person: { id: string; name: string; email: string }
    existing: readonly Passkey[]
  },
): Promise<BrowserOptions> {
  const { challenge, person, existing } = asked
  const options = await generateRegistrationOptions({
    rpName: 'Fleetseal',
    rpID: nameOf(config),
    userID: new Uint8Array(Buffer.from(person.id)),
    userName: person.email,
    userDisplayName: person.name,
    challenge: new Uint8Array(challenge),
    timeout: promptMs,
    attestationType: 'none',
    excludeCredentials: existing.map(descriptor),
    authenticatorSelection: { residentKey: 'required', userVerification: 'required' },
  })
  return { ...options }
}

/** What a browser needs to ask for one of these passkeys, or for any when none are named. */
export async function requestOptions(
  config: HostConfig,
  { challenge, allowed }: { challenge: Buffer; allowed: readonly Passkey[] },
): Promise<BrowserOptions> {
  const options = await generateAuthenticationOptions({
    rpID: nameOf(config),
    challenge: new Uint8Array(challenge),
    timeout: promptMs,
    userVerification: 'required',
    allowCredentials: allowed.map(descriptor),
  })
  return { ...options }
}

function descriptor({ credential_id: id, transports }: Passkey) {
  return { id: id.toString('base64url'), transports }
}

export interface Expected {
  challenge: Buffer
  origin: string
}

/**
 * What is stored of a new passkey.
 *
 * @throws DomainError `invalid-request` when the answer is not one to this challenge, origin and name, or was given without user verification
 */
export async function readNewPasskey(
  config: HostConfig,
  response: unknown,
  { challenge, origin }: Expected,
): Promise<
  Pick<
    Passkey,
    | 'credential_id'
    | 'public_key'
    | 'counter'
    | 'transports'
    | 'is_synced'
    | 'is_backed_up'
    | 'aaguid'
  >
> {
  const { registrationInfo: made } = await verifyRegistrationResponse({
    // Its shape was looked at; everything in it is verified here.
    response: response as RegistrationResponseJSON,
    expectedChallenge: challenge.toString('base64url'),
    expectedOrigin: origin,
    expectedRPID: nameOf(config),
    requireUserVerification: true,
  }).catch((error: unknown) => {
    throw notFitting(error)
  })
  if (!made || isFramed(response)) throw notFitting(undefined)
  const { credential } = made
  const known: readonly string[] = transportNames
  return {
    credential_id: Buffer.from(credential.id, 'base64url'),
    public_key: Buffer.from(credential.publicKey),
    counter: credential.counter,
    transports: (credential.transports ?? []).filter((name) => known.includes(name)),
    is_synced: made.credentialDeviceType === 'multiDevice',
    is_backed_up: made.credentialBackedUp,
    aaguid: made.aaguid.slice(0, 36),
  }
}

const transportNames = ['ble', 'cable', 'hybrid', 'internal', 'nfc', 'smart-card', 'usb'] as const

function notFitting(cause: unknown): DomainError {
  return new DomainError(
    'invalid-request',
    'This passkey could not be taken: begin again',
    {},
    { cause },
  )
}

export type PasskeyAnswer =
  | { fits: true; counter: number; isBackedUp: boolean }
  | { fits: false; isBehind: boolean }

/** Whether an answer was made by this passkey, for this challenge and origin, with its user verified, and with a counter that went on. */
export async function checkPasskey(
  config: HostConfig,
  response: unknown,
  given: Expected & { passkey: Passkey },
): Promise<PasskeyAnswer> {
  const { counter } = given.passkey
  const answer = await verify(config, response, { ...given, counter })
  if (answer) return { fits: true, ...answer }
  // The library looks at the counter before the signature: only what is really signed tells of a copied key (WebAuthn section 6.1.1).
  const isSigned = counter > 0 && (await verify(config, response, { ...given, counter: 0 }))
  return { fits: false, isBehind: isSigned !== false && isSigned !== undefined }
}

async function verify(
  config: HostConfig,
  response: unknown,
  { passkey, challenge, origin, counter }: Expected & { passkey: Passkey; counter: number },
): Promise<{ counter: number; isBackedUp: boolean } | undefined> {
  const answer = await verifyAuthenticationResponse({
    response: response as AuthenticationResponseJSON,
    expectedChallenge: challenge.toString('base64url'),
    expectedOrigin: origin,
    expectedRPID: nameOf(config),
    requireUserVerification: true,
    credential: {
      id: passkey.credential_id.toString('base64url'),
      publicKey: new Uint8Array(passkey.public_key),
      counter,
      transports: passkey.transports,
    },
  }).catch(() => undefined)
  if (!answer?.verified || isFramed(response)) return undefined
  const { newCounter, credentialBackedUp } = answer.authenticationInfo
  return { counter: newCounter, isBackedUp: credentialBackedUp }
}

/**
 * Whether the page was a frame of somebody else's, who decided what its user saw (WebAuthn section 7.2, step 14). The library looks only where a
 * browser names that page. For what verified, whose client data is JSON.
 */
function isFramed(response: unknown): boolean {
  const { response: answer } = response as AuthenticationResponseJSON
  const client = JSON.parse(Buffer.from(answer.clientDataJSON, 'base64url').toString()) as object
  return ('crossOrigin' in client && client.crossOrigin === true) || 'topOrigin' in client
}
