import { existsSync } from 'node:fs'

import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'

const executablePath = '/usr/bin/chromium'

/** Undefined, or why there is no browser to test with. */
export const noBrowser = existsSync(executablePath)
  ? undefined
  : `${executablePath} is not installed (Debian: chromium)`

export interface Watched extends AsyncDisposable {
  page: Page
  context: BrowserContext
  /** What the page complained about: errors, refused resources, breaches of its policy. */
  complaints: string[]
}

/** A page in a browser of its own, which trusts whatever certificate is shown. */
export async function openPage(
  options: { width?: number; height?: number; colorScheme?: 'light' | 'dark' } = {},
): Promise<Watched> {
  const { width = 1280, height = 900, colorScheme = 'light' } = options
  const browser: Browser = await chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  })
  const context = await browser.newContext({
    ignoreHTTPSErrors: true,
    viewport: { width, height },
    colorScheme,
  })
  const page = await context.newPage()
  page.setDefaultTimeout(60_000)
  const complaints: string[] = []
  page.on('console', (message) => {
    const text = message.text()
    // A browser says so of each refusal that the page handles; what the page makes of it is what counts.
    const isHandled = /Failed to load resource: the server responded with a status of 4\d\d/.test(
      text,
    )
    if (message.type() === 'error' && !isHandled) complaints.push(text)
  })
  page.on('pageerror', (error) => complaints.push(error.message))
  await page.addInitScript(`addEventListener('securitypolicyviolation', (event) => {
    console.error('policy: ' + event.violatedDirective + ' ' + event.blockedURI)
  })`)
  return {
    page,
    context,
    complaints,
    [Symbol.asyncDispose]: async () => await browser.close(),
  }
}

/** An authenticator inside the browser that knows its user and keeps passkeys. */
export async function addAuthenticator({ context, page }: Watched): Promise<void> {
  const client = await context.newCDPSession(page)
  await client.send('WebAuthn.enable')
  await client.send('WebAuthn.addVirtualAuthenticator', {
    options: {
      protocol: 'ctap2',
      transport: 'internal',
      hasResidentKey: true,
      hasUserVerification: true,
      isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  })
}
