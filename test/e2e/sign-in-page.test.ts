import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { CookieBrowser } from '../support/cookie-browser.ts'
import { operatorOf } from '../support/operator.ts'
import { freePort } from '../support/postgres.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let provider: ChildProcess
let here: string
let issuer: string

/** The steps of docs/sign-in.md, on other ports. */
beforeAll(async () => {
  const page = await readFile('docs/sign-in.md', 'utf8')
  const port = await freePort()
  issuer = `http://localhost:${port}`
  const lines = [...page.matchAll(/^export (FLEETSEAL_\w+)=(.+)$/gm)]
  const variables = lines.map(([, name = '', value = '']): [string, string] => [
    name,
    value.replaceAll("'", '').replace('http://localhost:9400', issuer),
  ])
  expect(variables.length).toBe(4)
  server = await startServer(Object.fromEntries(variables))
  here = `https://localhost:${server.ports.api}`
  const [, script = ''] = /^npx node (\S+)$/m.exec(page) ?? []
  const args = [script, '--port', String(port), '--fleetseal', here, '--ca', server.ca]
  const options = { stdio: ['ignore', 'pipe', 'ignore'] as ['ignore', 'pipe', 'ignore'] }
  provider = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...args], options)
  let output = ''
  await new Promise<void>((resolve, reject) => {
    provider.once('exit', () => reject(new Error(`the provider ended: ${output}`)))
    provider.stdout?.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes('provider ready')) resolve()
    })
  })
  setDefaultCACertificates([...getCACertificates('default'), await readFile(server.ca, 'utf8')])
})
afterAll(async () => {
  await stopProvider()
  await server[Symbol.asyncDispose]()
})

async function stopProvider(): Promise<void> {
  if (provider.exitCode !== null || provider.signalCode !== null) return
  const ended = once(provider, 'exit')
  provider.kill()
  await ended
}

async function signIn(login: string) {
  const browser = new CookieBrowser()
  const page = await browser.go(`${here}/sign-in/oidc`)
  const answer = await browser.submit(page, { login, password: 'x' })
  return { browser, answer }
}

test('who follows the page signs in, and stays outside where no role is mapped', async () => {
  const { browser } = await signIn('alice')
  const me = await browser.ask(`${here}/api/v1/operators/me`)
  expect(me.status).toBe(200)
  expect(await me.json()).toMatchObject({ name: 'Alice Adams', role: 'admin' })
  const self = await browser.ask(`${here}/api/v1/self`)
  expect(await self.json()).toMatchObject({
    person: { name: 'Alice Adams', email: 'alice@example.com' },
    credentials: null,
  })
  const { answer } = await signIn('carol')
  expect(answer.response.status).toBe(403)
  expect(await answer.response.text()).toContain('names no role for you')
})

test('sessions end when the provider ends them, and when an administrator does', async () => {
  const { browser } = await signIn('bob')
  const status = async () => (await browser.ask(`${here}/api/v1/operators/me`)).status
  expect(await status()).toBe(200)
  const page = await browser.go(`${issuer}/session/end`)
  await browser.submit(page, { logout: 'yes' })
  expect(await status()).toBe(401)
  const again = await signIn('bob')
  const now = async () => (await again.browser.ask(`${here}/api/v1/operators/me`)).status
  expect(await now()).toBe(200)
  const { fleetseal } = operatorOf(server)
  const people = await fleetseal<{ email: string | null }[]>('person', 'list')
  expect(people.map(({ email }) => email)).toContain('bob@example.com')
  await fleetseal('person', 'end-sessions', 'bob@example.com')
  expect(await now()).toBe(401)
  const sessions = await fleetseal<{ endedReason: string }[]>(
    'person',
    'sessions',
    'bob@example.com',
  )
  expect(sessions.map(({ endedReason }) => endedReason).toSorted()).toEqual([
    'by-administrator',
    'by-provider',
  ])
})

test('a provider that is down is said to be, and keeps nobody else out', async () => {
  await stopProvider()
  const { fleetseal } = operatorOf(server)
  expect(await fleetseal<{ role: string }>('api-key', 'whoami')).toMatchObject({ role: 'admin' })
  // What it said before is still known: the browser is sent there, where nobody answers.
  expect((await new CookieBrowser().ask(`${here}/sign-in/oidc`)).status).toBe(303)
  await server.stop()
  await server.restart()
  const answer = await new CookieBrowser().ask(`${here}/sign-in/oidc`)
  expect(answer.status).toBe(503)
  expect(answer.headers.get('retry-after')).toBe('5')
})
