import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { runProgram } from '../../cli/program.ts'
import type { Operator } from '../../demo/fleetseal.ts'
import { openSite, publishRelease } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

/* What an operator asks about a rollout before and while it runs, at the command line, against a real server. */
let server: RunningServer
let command: Operator['fleetseal']
let rollout: string

beforeAll(async () => {
  server = await startServer()
  const site = await openSite(server)
  command = site.operator.fleetseal
  const image = Buffer.alloc(1_000, 1)
  const release = await publishRelease(site, {
    version: '2.0.0',
    build: 200,
    image,
    metadataVersion: 1,
  })
  await command('device', 'register', 'SN-7', '--group', 'lab')
  const what = ['--release', release, '--group', 'lab']
  rollout = (await command<{ id: string }>('rollout', 'create', 'spring', ...what)).id
}, 180_000)
afterAll(async () => await server[Symbol.asyncDispose]())

/** As a person sees it. */
async function typed(...argv: string[]) {
  let out = ''
  let err = ''
  const code = await runProgram(argv, {
    env: {
      FLEETSEAL_SERVER: `https://localhost:${server.ports.api}`,
      FLEETSEAL_CA: server.ca,
      FLEETSEAL_API_KEY: join(server.dataDir, 'admin-api-key'),
    },
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    ask: async () => undefined,
    now: () => new Date(),
    sleep: async () => {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

test('preview: who would get it', async () => {
  const { code, out, err } = await typed('rollout', 'preview', 'spring')
  expect(code, err).toBe(0)
  expect(out).toMatch(/devices: +1\n/)
  expect(await command('rollout', 'preview', rollout)).toMatchObject({ devices: 1 })
  expect((await typed('rollout', 'preview', 'autumn')).code).not.toBe(0)
})

test('explain: why a device has, or has not, got it', async () => {
  expect(await command('rollout', 'explain', 'spring', 'SN-7')).toMatchObject({
    code: 'not-running',
    deployment: null,
  })
  const { code, out, err } = await typed('rollout', 'explain', 'spring', 'SN-7')
  expect(code, err).toBe(0)
  expect(out).toContain('Start or resume the rollout')
  const device = await typed('device', 'explain', 'SN-7')
  expect(device.code, device.err).toBe(0)
  expect((await typed('device', 'explain', 'SN-8')).code).toBe(1)
})

test('history and penalty of a device without any', async () => {
  expect(await typed('device', 'history', 'SN-7')).toMatchObject({ code: 0, out: 'none\n' })
  expect(await command('device', 'history', 'SN-7')).toEqual([])
  expect((await typed('device', 'lift-penalty', 'SN-7')).err).toContain('--reason')
  const lifted = await typed('device', 'lift-penalty', 'SN-7', '--reason', 'new flash')
  expect(lifted.code, lifted.err).toBe(0)
})

test('windows of a group and a device: set, listed, removed', async () => {
  const rule = 'sat,sun 22:00/PT8H@Europe/Berlin'
  await command('window', 'set', rule, '--group', 'lab')
  await command('window', 'set', '0 3 * * */PT2H@America/New_York', '--device', 'SN-7')
  expect(await command('window', 'list')).toHaveLength(2)
  expect((await typed('window', 'list')).out).toContain('Europe/Berlin')
  expect((await typed('window', 'set', 'sometimes', '--group', 'lab')).code).not.toBe(0)
  await command('window', 'remove', '--device', 'SN-7')
  await command('window', 'remove', '--group', 'lab')
  expect(await command('window', 'list')).toEqual([])
})

test('blackouts: made, changed, deleted', async () => {
  const days = ['--zone', 'Europe/Berlin', '--date', '2030-12-24/2030-12-26']
  await command('blackout', 'create', 'Holidays', ...days)
  expect((await typed('blackout', 'list')).out).toContain('Holidays')
  await command('blackout', 'change', 'Holidays', '--zone', 'UTC', '--date', '2030-12-31')
  expect(await command('blackout', 'list')).toMatchObject([{ zone: 'UTC' }])
  await command('blackout', 'delete', 'Holidays')
  expect(await typed('blackout', 'list')).toMatchObject({ code: 0, out: 'none\n' })
})

test('results as a file, and who is listened to until the end, by curl too', async () => {
  const file = join(server.dataDir, 'results.csv')
  const exported = await typed('rollout', 'export', 'spring', '--out', file)
  expect(exported.code, exported.err).toBe(0)
  expect(await readFile(file, 'utf8')).toMatch(/^deviceId,serialNumber,.*\r\n$/)
  await command('rollout', 'cancel', 'spring')
  const watched = await typed('rollout', 'show', 'spring', '--watch')
  expect(watched).toMatchObject({ code: 1, err: expect.stringContaining('rollout-cancelled') })
  // `end` closes the connection, so curl ends by itself.
  const { stdout } = await promisify(execFile)('curl', [
    '-sSN',
    '--max-time',
    '60',
    '--cacert',
    server.ca,
    '-H',
    `Authorization: Bearer ${await server.apiKey()}`,
    `https://localhost:${server.ports.api}/api/v1/rollouts/${rollout}/events`,
  ])
  expect(stdout).toMatch(
    /^retry: 2000\n\nid: [0-9a-f]{16}\nevent: snapshot\ndata: \{.*"state":"cancelled".*\}\n\nevent: end\ndata: \{"reason":"rollout-ended"\}\n\n$/,
  )
})
