import { existsSync } from 'node:fs'

import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll, expect, test } from 'vitest'

import type { DatabaseHandle } from '../../server/db/client.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'

/* The description of the interface in a real browser: all of it from this server, under a policy that forbids anything else. */

const binary = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(
  (path) => existsSync(path),
)
if (binary === undefined) console.warn('docs.test.ts is skipped: no chromium (Debian: chromium)')

const inBrowser = test.skipIf(binary === undefined)

let handle: DatabaseHandle
let api: TestApi
let browser: Browser

beforeAll(async () => {
  if (binary === undefined) return
  handle = await createTestDatabase()
  api = await startApi(handle)
  browser = await chromium.launch({
    executablePath: binary,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
    timeout: 100_000,
  })
}, 120_000)
afterAll(async () => {
  await browser?.close()
  await api?.[Symbol.asyncDispose]()
  await handle?.[Symbol.asyncDispose]()
}, 60_000)

async function open(path: string) {
  const page = await browser.newPage()
  page.setDefaultTimeout(100_000)
  const asked: string[] = []
  const complaints: string[] = []
  page.on('request', (request) => asked.push(request.url()))
  page.on('pageerror', (error) => complaints.push(error.message))
  page.on('console', (line) => {
    if (line.type() === 'error') complaints.push(line.text())
  })
  await page.goto(`${api.url}${path}`)
  return { page, asked, complaints }
}

inBrowser(
  'shows the operations, and asks nobody else for anything',
  async () => {
    const { page, asked, complaints } = await open('/docs')
    await page.locator('.opblock-tag[data-tag="groups"]').click()
    const operation = page.locator('#operations-groups-postGroups')
    await operation.locator('.opblock-summary-control').click()
    await operation.locator('text=Idempotency-Key').first().waitFor()
    const foreign = asked.filter(
      (url) => !url.startsWith(`${api.url}/`) && !url.startsWith('data:'),
    )
    expect(foreign).toEqual([])
    expect(asked).toContain(`${api.url}/openapi.json`)
    expect(complaints).toEqual([])
    await page.close()
  },
  120_000,
)

inBrowser(
  'a problem says what to do, and the list leads to it',
  async () => {
    const { page, asked, complaints } = await open('/docs/problems')
    await page.locator('a[href="/docs/problems/idempotency-mismatch"]').click()
    await page.locator('h1', { hasText: 'idempotency-mismatch' }).waitFor()
    expect(await page.locator('main').innerText()).toContain('Use a new key for a new request')
    expect(asked.every((url) => url.startsWith(`${api.url}/`) || url.startsWith('data:'))).toBe(
      true,
    )
    expect(complaints).toEqual([])
    await page.close()
  },
  120_000,
)

inBrowser(
  'the policy is in force: a script of another origin, and one in the page, do not run',
  async () => {
    const { page, complaints } = await open('/docs')
    const ran = await page.evaluate(async () => {
      const at = globalThis as unknown as {
        document: { createElement: (name: string) => Tag } & {
          body: { append: (tag: Tag) => void }
        }
        ran?: boolean
      }
      interface Tag {
        textContent: string
        src: string
        onerror: () => void
      }
      const inline = at.document.createElement('script')
      inline.textContent = 'globalThis.ran = true'
      at.document.body.append(inline)
      const foreign = at.document.createElement('script')
      const blocked = new Promise<void>((resolve) => {
        foreign.onerror = resolve
      })
      foreign.src = 'http://127.0.0.2:9/x.js'
      at.document.body.append(foreign)
      await blocked
      return at.ran ?? false
    })
    expect(ran).toBe(false)
    expect(complaints.some((text) => text.includes('Content Security Policy'))).toBe(true)
    await page.close()
  },
  120_000,
)
