import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'

import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'

import { bootstrapAuthorities } from '../../server/authorities/bootstrap.ts'
import { loadAuthorities } from '../../server/authorities/load.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { addAuthenticator, noBrowser, openPage, type Watched } from '../support/browser.ts'
import { createTestDatabase } from '../support/database.ts'
import { codeOf, createMember, createPerson, inviteToken, password } from '../support/sign-in.ts'

/** Where pictures are kept for people to look at; nowhere when it is not set. */
const pictures = process.env['CONSOLE_PICTURES']

let handle: DatabaseHandle
let api: TestApi
let url: string

beforeAll(async () => {
  handle = await createTestDatabase()
  if (pictures !== undefined) await mkdir(pictures, { recursive: true })
})
beforeEach(async () => {
  await handle.db.deleteFrom('sign_in_limit').execute()
  api = await startApi(handle)
  // A secure context without TLS, where a browser keeps `Secure` cookies.
  url = api.url.replace('127.0.0.1', 'localhost')
})
afterEach(async () => await api[Symbol.asyncDispose]())
afterAll(async () => await handle[Symbol.asyncDispose]())

const picture = async ({ page }: Watched, name: string) => {
  if (pictures === undefined) return
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
}

async function givenDevice(name: string): Promise<string> {
  const { body } = await api.call('POST', '/devices', { serialNumber: `c-${name}`, name })
  const id = String(body['id'])
  await handle.db.updateTable('device').set({ state: 'active' }).where('id', '=', id).execute()
  return id
}

const stateOf = async (id: string) =>
  (await api.call('GET', `/devices/${id}`)).body['state'] as string

const reason = noBrowser === undefined ? '' : ` (${noBrowser})`
const browserTest = test.skipIf(noBrowser)

/** Invited, a password, an app, the codes. Returns the secret of the app. */
async function takeInvitation(watched: Watched, personId: string): Promise<string> {
  const { page } = watched
  await page.goto(`${url}/#/invitation/${await inviteToken(api, personId)}`)
  await page.getByLabel('New password').waitFor()
  await picture(watched, '01-invitation')
  // The link is not kept where somebody could find it.
  expect(page.url()).toBe(`${url}/#/invitation`)
  await page.getByLabel('New password').fill('password1234')
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByRole('alert').getByText('first that anybody tries').waitFor()
  await page.getByLabel('New password').fill(password)
  await page.getByRole('button', { name: 'Continue' }).click()
  await picture(watched, '02-second-factor')
  await page.getByRole('button', { name: 'Authenticator app' }).click()
  await page.getByText('Or type this key').click()
  await picture(watched, '03-app')
  const secret = (await page.locator('code.secret').innerText()).replaceAll(' ', '')
  await page.getByLabel('Code of your authenticator app').fill(codeOf(api, secret))
  await page.getByRole('button', { name: 'Confirm' }).click()
  await page.locator('.codes li').first().waitFor()
  expect(await page.locator('.codes li').count()).toBe(10)
  await picture(watched, '04-recovery-codes')
  await page.getByRole('button', { name: 'I have kept them' }).click()
  return secret
}

async function signOut({ page }: Watched): Promise<void> {
  await page.getByRole('button', { name: 'Sign out' }).click()
  await page.getByRole('heading', { name: 'Sign in' }).waitFor()
}

async function signInWithCode({ page }: Watched, email: string, secret: string): Promise<void> {
  await page.getByLabel('E-mail address').fill(email)
  await page.getByLabel('Password', { exact: true }).fill(password)
  await page.getByRole('button', { name: 'Continue' }).click()
  await page.getByLabel('Code of your authenticator app').fill(codeOf(api, secret))
  await page.getByRole('button', { name: 'Sign in', exact: true }).click()
  await page.getByRole('heading', { name: 'Overview' }).waitFor()
}

async function addPasskey(watched: Watched): Promise<void> {
  const { page } = watched
  await page.getByRole('link', { name: 'Account' }).click()
  await page.getByRole('button', { name: 'Add a passkey' }).click()
  await page.getByLabel('Name', { exact: true }).fill('My laptop')
  await page.getByRole('button', { name: 'Save' }).click()
  await page.getByText('My laptop').waitFor()
  await page.getByText('this one').waitFor()
  await picture(watched, '06-account')
}

/** Up to the question for the second factor. */
async function askToRevoke(watched: Watched): Promise<void> {
  const { page } = watched
  await page.getByRole('link', { name: 'Devices' }).click()
  await page.getByRole('searchbox').fill('gate')
  await page.getByRole('button', { name: 'Search' }).click()
  await page.getByRole('link', { name: 'gate-7' }).waitFor()
  await picture(watched, '07-devices')
  await page.getByRole('link', { name: 'gate-7' }).click()
  await page.getByRole('button', { name: 'Revoke gate-7' }).click()
  await page.getByLabel('Reason').fill('stolen from the site')
  await picture(watched, '08-revoke')
  await page.getByRole('button', { name: 'Revoke', exact: true }).click()
  await page.getByRole('heading', { name: 'Is it still you?' }).waitFor()
  await picture(watched, '09-step-up')
}

browserTest(
  `invited, signed in with a code and with a passkey, stepped up, a device revoked, signed out${reason}`,
  async () => {
    await using watched = await openPage()
    const { page, complaints } = watched
    await addAuthenticator(watched)
    // Revoking publishes a revocation list.
    await bootstrapAuthorities(api.ctx)
    api.ctx.authorities = await loadAuthorities(api.ctx)
    const deviceId = await givenDevice('gate-7')
    const person = await createPerson(api)
    const secret = await takeInvitation(watched, person.id)
    await page.getByText('connected now').waitFor()
    await picture(watched, '05-overview')

    await signOut(watched)
    api.ctx.clock.advance({ seconds: 30 })
    await signInWithCode(watched, person.email, secret)
    await addPasskey(watched)
    await signOut(watched)
    await page.getByRole('button', { name: 'Sign in with a passkey' }).click()
    await page.getByRole('heading', { name: 'Overview' }).waitFor()

    api.ctx.clock.advance({ seconds: 600 })
    await askToRevoke(watched)
    expect(await stateOf(deviceId)).toBe('active')
    await page.getByRole('button', { name: 'Continue with your passkey' }).click()
    await page.locator('.badge.revoked').waitFor()
    expect(await stateOf(deviceId)).toBe('revoked')
    await picture(watched, '10-device')

    await signOut(watched)
    await picture(watched, '11-sign-in')
    await page.goto(`${url}/#/devices`)
    await page.getByRole('heading', { name: 'Sign in' }).waitFor()
    expect(complaints).toEqual([])
  },
  180_000,
)

browserTest(
  `at 360 pixels and in the dark nothing lies outside of the page${reason}`,
  async () => {
    const member = await createMember(api)
    for (let n = 0; n < 3; n++) await givenDevice(`narrow-${n}-${'x'.repeat(40)}`)
    await using watched = await openPage({ width: 360, height: 740, colorScheme: 'dark' })
    const { page, context, complaints } = watched
    const [name = '', value = ''] = member.cookie.split('=')
    const about = { httpOnly: true, secure: true, sameSite: 'Strict' } as const
    await context.addCookies([{ name, value, url: 'https://localhost/', ...about }])
    for (const [path, title] of [
      ['/', 'Overview'],
      ['/devices', 'Devices'],
      ['/account', 'Account'],
    ] as const) {
      await page.goto(`${url}/#${path}`)
      await page.getByRole('heading', { name: title, exact: true }).waitFor()
      await expect
        .poll(async () => await page.locator('.loading').count(), { timeout: 60_000 })
        .toBe(0)
      const width = await page
        .locator('html')
        .evaluate((element) => Reflect.get(element, 'scrollWidth'))
      expect(width, title).toBeLessThanOrEqual(360)
      await picture(watched, `20-narrow-${title}`)
    }
    expect(complaints).toEqual([])
  },
  120_000,
)

test('pages and scripts come from this server alone, and are described as what they are', async () => {
  const index = await fetch(`${api.url}/`)
  expect(index.status).toBe(200)
  const policy = index.headers.get('content-security-policy') ?? ''
  expect(policy).toContain("default-src 'none'")
  expect(policy).not.toMatch(/unsafe|https?:/)
  const html = await index.text()
  expect(html).not.toMatch(/<style|style=|<script(?![^>]*src=)|https?:\/\//)
  const waiting = [...html.matchAll(/(?:src|href)="(\/[^"]+)"/g)].map(([, path = '']) => path)
  const seen = new Set<string>()
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue
    seen.add(path)
    const response = await fetch(`${api.url}${path}`)
    expect(response.status, path).toBe(200)
    const text = await response.text()
    if (/\.[jt]s$/.test(path)) {
      expect(response.headers.get('content-type'), path).toContain('text/javascript')
      const imports = [...text.matchAll(/(?:from|import) '([^']+)'/g)].map(([, to = '']) => to)
      for (const to of imports) waiting.push(new URL(to, `http://x${path}`).pathname)
    }
    const etag = response.headers.get('etag') ?? ''
    const again = await fetch(`${api.url}${path}`, { headers: { 'If-None-Match': etag } })
    expect(again.status, path).toBe(304)
  }
  expect(seen.size).toBeGreaterThan(20)
  for (const path of ['/console/../package.json', '/console/tsconfig.json', '/console/none.ts']) {
    expect((await fetch(`${api.url}${path}`)).status).toBe(404)
  }
})
