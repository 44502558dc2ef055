import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { type DemoProvider, startDemoProvider } from '../../demo/oidc-provider.ts'
import { loadConfig } from '../../server/config.ts'
import type { Context } from '../../server/context.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { sessionCookieName } from '../../server/people/session-cookie.ts'
import { startApi, type TestApi } from './api.ts'
import { CookieBrowser } from './cookie-browser.ts'

/** Resolves nowhere: what is asked of it goes to the app under test. */
export const here = 'https://fleetseal.example'

export interface OidcWorld extends AsyncDisposable {
  api: TestApi
  provider: DemoProvider
  /** What the provider says of people; may be changed between two sign-ins. */
  people: Record<string, Record<string, unknown>>
  newBrowser: () => CookieBrowser
  /** Signs somebody in, and gives the last answer. */
  signIn: (
    browser: CookieBrowser,
    login: string,
    query?: string,
  ) => Promise<{ response: Response; url: URL }>
  /** Goes as far as the provider sends the browser back, and gives the address, not yet asked for. */
  untilCallback: (browser: CookieBrowser, login: string, query?: string) => Promise<URL>
  me: (browser: CookieBrowser) => Promise<{ status: number; body: Record<string, unknown> }>
}

/** The operators' app with a real provider beside it, on a test database. */
export async function openOidcWorld(
  handle: DatabaseHandle,
  more: Record<string, string> = {},
  overrides: Partial<Context> = {},
): Promise<OidcWorld> {
  await using stack = new AsyncDisposableStack()
  const people: OidcWorld['people'] = {
    alice: { name: 'Alice Adams', email: 'alice@example.com', roles: ['fleet-admins'] },
    bob: { name: 'Bob Brown', email: 'bob@example.com', roles: ['fleet-viewers', 'others'] },
    carol: { name: 'Carol Clark', roles: ['others'] },
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'fleetseal-oidc-'))
  stack.defer(() => rm(dataDir, { recursive: true, force: true }))
  const reach = (url: URL) => (url.origin === here ? url.href.replace(here, api.url) : url.href)
  const provider = stack.use(
    await startDemoProvider({
      port: 0,
      fleetseal: here,
      clientSecret: 'demo-secret',
      people,
      fetch: async (url, init) =>
        await fetch(reach(new URL(url instanceof Request ? url.url : url)), init),
    }),
  )
  const config = loadConfig({
    FLEETSEAL_DATA_DIR: dataDir,
    FLEETSEAL_PUBLIC_URL: here,
    FLEETSEAL_OIDC_ISSUER: provider.issuer,
    FLEETSEAL_OIDC_CLIENT_ID: 'fleetseal',
    FLEETSEAL_OIDC_CLIENT_SECRET: 'demo-secret',
    FLEETSEAL_OIDC_ROLE_MAP: JSON.stringify({
      'fleet-admins': 'admin',
      'fleet-viewers': 'viewer',
      'line-1': { role: 'operator', groups: ['line 1'] },
      'night-shift': 'night-watch',
    }),
    ...more,
  })
  const api: TestApi = stack.use(await startApi(handle, { config, ...overrides }))
  const loginPage = async (browser: CookieBrowser, query: string) =>
    await browser.go(`${here}/sign-in/oidc${query}`)
  const atCallback = (url: URL) => url.pathname === '/sign-in/oidc/callback'
  const up = stack.move()
  return {
    api,
    provider,
    people,
    newBrowser: () => new CookieBrowser(reach),
    signIn: async (browser, login, query = '') => {
      const page = await loginPage(browser, query)
      // Whoever is signed in at the provider is not asked again.
      if (!page.url.href.startsWith(provider.issuer)) return page
      return await browser.submit(page, { login, password: 'x' })
    },
    untilCallback: async (browser, login, query = '') => {
      const page = await loginPage(browser, query)
      return (await browser.submit(page, { login, password: 'x' }, atCallback)).url
    },
    me: async (browser) => {
      const secret = browser.cookie(here, sessionCookieName) ?? ''
      const headers = { Cookie: `${sessionCookieName}=${secret}` }
      return await api.call('GET', '/operators/me', undefined, { key: '', headers })
    },
    [Symbol.asyncDispose]: () => up.disposeAsync(),
  }
}
