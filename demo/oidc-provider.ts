import { createServer } from 'node:http'

import { Provider } from 'oidc-provider'

export interface DemoProviderOptions {
  /** 0 takes any free one. */
  port: number
  /** Where Fleetseal is: `https://localhost:8443`. */
  fleetseal: string
  clientSecret: string
  /** By login; whoever is not among them has no claims. */
  people: Readonly<Record<string, Readonly<Record<string, unknown>>>>
  /** How the provider calls Fleetseal; `fetch` when left out. */
  fetch?: typeof fetch
}

export interface DemoProvider extends AsyncDisposable {
  issuer: string
  /** Ends somebody's sessions at the provider, which tells Fleetseal so. */
  provider: Provider
}

function ownWay(init: RequestInit): RequestInit {
  const { method = 'GET', headers = {}, body = null, redirect = 'follow' } = init
  return { method, headers, body, redirect }
}

export const demoClientId = 'fleetseal'

/**
 * An OpenID provider on this machine, for trying things out: whatever password is typed is right. It listens on the loopback address only.
 */
export async function startDemoProvider(options: DemoProviderOptions): Promise<DemoProvider> {
  const { port, fleetseal, clientSecret, people, fetch: ask = fetch } = options
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const issuer = `http://localhost:${address.port}`
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: demoClientId,
        client_secret: clientSecret,
        redirect_uris: [`${fleetseal}/sign-in/oidc/callback`],
        post_logout_redirect_uris: [`${fleetseal}/`],
        backchannel_logout_uri: `${fleetseal}/sign-in/oidc/back-channel-logout`,
        backchannel_logout_session_required: true,
      },
    ],
    claims: { openid: ['sub', 'sid', 'auth_time'], profile: ['name', 'roles'], email: ['email'] },
    // Claims in the ID token, as most providers can be set to do.
    conformIdTokenClaims: false,
    cookies: { keys: [clientSecret] },
    features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
    pkce: { required: () => true },
    findAccount: (_ctx, id) => ({
      accountId: id,
      claims: () => ({ sub: id, name: id, ...(Object.hasOwn(people, id) ? people[id] : {}) }),
    }),
    // Nobody is asked whether Fleetseal may know the name.
    loadExistingGrant: async (ctx) => {
      const { session, client, provider: own } = ctx.oidc
      const accountId = session?.accountId
      const clientId = client?.clientId
      if (accountId === undefined || clientId === undefined) return undefined
      const grant = new own.Grant({ accountId, clientId })
      grant.addOIDCScope('openid profile email')
      await grant.save()
      return grant
    },
    ttl: { Session: 3_600, Interaction: 600, Grant: 3_600, IdToken: 600, AccessToken: 600 },
    // Its own way of asking refuses this machine, where Fleetseal is here.
    fetch: async (url, init = {}) => await ask(url, ownWay(init)),
  })
  const answer = provider.callback()
  server.on('request', (req, res) => void answer(req, res))
  return {
    issuer,
    provider,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}
