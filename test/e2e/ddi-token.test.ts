import { readFile } from 'node:fs/promises'
import https from 'node:https'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DdiClient } from '../support/ddi-client.ts'
import { openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site

beforeAll(async () => {
  server = await startServer({ FLEETSEAL_TARGET_TOKENS: 'allow' })
  site = await openSite(server)
})
afterAll(() => server[Symbol.asyncDispose]())

const fleetseal = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

test('a device that cannot show a certificate polls with a token, is seen to, and is cut off like others', async () => {
  await fleetseal('ddi', 'model', 'gate-2', 'swupdate', '--version-attribute', 'swVersion')
  const { id } = await fleetseal<{ id: string }>('device', 'register', 'TT-1')
  const what = ['--model', 'gate-2', '--hardware-id', 'gate-2-r3', '--reason', 'old modem']
  const { token } = await fleetseal<{ token: string }>('ddi', 'token', 'TT-1', ...what)
  const ca = await readFile(server.ca, 'utf8')
  const poll = async (headers: Record<string, string>) => {
    const path = `/DEFAULT/controller/v1/${id}`
    const to = { host: 'localhost', port: server.ports.device, path, ca, agent: false, headers }
    const { promise, resolve, reject } = Promise.withResolvers<number | undefined>()
    const sent = https.request(to, (response) => {
      response.resume()
      response.on('end', () => resolve(response.statusCode))
    })
    sent.on('error', reject)
    sent.end()
    return await promise
  }
  const mine = { Authorization: `TargetToken ${token}` }
  expect(await poll({})).toBe(403)
  expect(await poll({ Authorization: 'TargetToken x' })).toBe(401)
  expect(await poll(mine)).toBe(200)
  const shown = await fleetseal<{ targetToken: boolean }>('device', 'show', 'TT-1')
  expect(shown.targetToken).toBe(true)
  const ddi = await fleetseal<{ targetToken: { lastUsedAt: string | null } }>('ddi', 'show', 'TT-1')
  expect(ddi.targetToken.lastUsedAt).not.toBeNull()
  await fleetseal('device', 'disable', 'TT-1', '--reason', 'test')
  expect(await poll(mine)).toBe(403)
  await fleetseal('device', 'enable', 'TT-1', '--reason', 'test')
  expect(await poll(mine)).toBe(200)
  await fleetseal('ddi', 'remove-token', 'TT-1')
  expect(await poll(mine)).toBe(401)
  // A device that enrolled needs none.
  await DdiClient.enroll(server, site, 'TT-2')
  const why = ['--reason', 'test']
  await expect(fleetseal('ddi', 'token', 'TT-2', ...why)).rejects.toThrow(/despiteCertificate/)
})
