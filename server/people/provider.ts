import * as oidc from 'openid-client'

import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { boundedFetch } from '../http/bounded-fetch.ts'
import { isTrustworthy, type OidcSettings } from '../sign-in-config.ts'

const timeoutSeconds = 10
/** What a provider says about itself is read again after this. */
const freshMs = 3_600_000
/** A provider that did not answer is not asked again sooner. */
const pauseMs = 3_000

/**
 * The OpenID provider. It is asked when somebody signs in and not before: that it is down keeps nobody else from working, and what it said last is
 * used for as long as it cannot be asked anew.
 */
export class Provider {
  readonly settings: OidcSettings
  readonly #clock: Context['clock']
  #known: { configuration: oidc.Configuration; at: number } | undefined
  #asking: Promise<oidc.Configuration> | undefined
  #failedAt = Number.NEGATIVE_INFINITY

  constructor({ clock }: Pick<Context, 'clock'>, settings: OidcSettings) {
    this.settings = settings
    this.#clock = clock
  }

  /** @throws DomainError `busy` when it does not answer and never did */
  async configuration(): Promise<oidc.Configuration> {
    const now = this.#clock.now().getTime()
    if (this.#known && now - this.#known.at < freshMs) return this.#known.configuration
    if (!this.#asking && now - this.#failedAt < pauseMs) return this.#stale()
    this.#asking ??= this.#discover().finally(() => (this.#asking = undefined))
    try {
      const configuration = await this.#asking
      this.#known = { configuration, at: now }
      return configuration
    } catch (error) {
      this.#failedAt = now
      return this.#stale(error)
    }
  }

  #stale(cause?: unknown): oidc.Configuration {
    if (this.#known) return this.#known.configuration
    throw new DomainError(
      'busy',
      'The identity provider does not answer: try again, or sign in another way',
      { retryAfterSeconds: 5 },
      { cause },
    )
  }

  async #discover(): Promise<oidc.Configuration> {
    const { issuer, clientId, clientSecret } = this.settings
    const url = new URL(issuer)
    const authentication = clientSecret === undefined ? oidc.None() : undefined
    const configuration = await oidc.discovery(url, clientId, clientSecret, authentication, {
      timeout: timeoutSeconds,
      [oidc.customFetch]: async (url, options) => await boundedFetch(url, options as RequestInit),
      execute: [
        // Signatures of ID tokens are verified although they come straight from the provider.
        oidc.enableNonRepudiationChecks,
        ...(url.protocol === 'http:' ? [oidc.allowInsecureRequests] : []),
      ],
    })
    // Only an issuer on this machine may be spoken to without TLS, and so may what it names.
    for (const endpoint of endpoints) {
      const address = configuration.serverMetadata()[endpoint]
      if (address !== undefined && !isTrustworthy(address)) {
        throw new Error(`The provider's ${endpoint} is neither https nor on this machine`)
      }
    }
    return configuration
  }
}

const endpoints = [
  'authorization_endpoint',
  'token_endpoint',
  'userinfo_endpoint',
  'jwks_uri',
  'end_session_endpoint',
] as const
