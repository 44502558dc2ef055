import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { zipSync } from 'fflate'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'

import { runProgram } from '../../cli/program.ts'
import { fromPem, toPem } from '../../pki/pem.ts'
import { newRequest } from '../support/identity-world.ts'
import { createManufacturer } from '../support/manufacturer.ts'
import { type RunningServer, startServer } from '../support/server.ts'

/* What an operator types to let devices in, against a real server: in order, each step on the one before. */
let server: RunningServer
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-cli-enrollment-'))
  server = await startServer()
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

async function fleetseal(...words: string[]) {
  let out = ''
  let err = ''
  const code = await runProgram(words, {
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

async function ok(...words: string[]) {
  const { code, out, err } = await fleetseal(...words, '--json')
  expect(code, `${words.join(' ')}: ${err}`).toBe(0)
  return z.json().parse(JSON.parse(out))
}

const Batches = z.array(z.looseObject({ id: z.string(), state: z.string() }))

const Claims = z.array(z.looseObject({ certificate: z.string().nullable() }))
const file = async (name: string, text: string) => {
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

test('a line whose devices come with their own certificates', async () => {
  const maker = await createManufacturer()
  const pem = await file('maker.pem', maker.pem.issuer)
  await ok('group', 'create', 'hall')
  const how = ['--auth', 'certificate', '--anchor', pem, '--key', 'P-256', '--key', 'ML-DSA-65']
  const webhook = ['--webhook', 'https://example.com/hook', '--approval', '--replaceable', 'on']
  const made = await ok('enrollment', 'create', 'makers', '--group', 'hall', ...how, ...webhook)
  expect(made).toMatchObject({
    auth: { type: 'certificate', trustAnchors: [{ subject: 'Maker, Maker Devices' }] },
    keyPolicy: ['P-256', 'ML-DSA-65'],
    approval: 'manual',
    replaceable: 'on',
    webhookSecret: expect.stringMatching(/^whsec_/) as unknown,
  })
  const { code, err } = await fleetseal('enrollment', 'token', 'makers')
  expect([code, err]).toEqual([1, expect.stringContaining('by certificate')])
  expect((await fleetseal('enrollment', 'show', 'makers')).out).not.toContain('whsec_')
})

test('a claim certificate for a production run', async () => {
  const maker = await createManufacturer()
  const claim = await file('claim.pem', toPem('CERTIFICATE', (await maker.claim()).der))
  await ok('enrollment', 'create', 'run', '--group', 'hall', '--auth', 'claim', '--registered')
  const made = await ok('enrollment', 'claim', 'run', claim, '--max-uses', '3')
  expect(made).toMatchObject([{ kind: 'claim', maxUses: 3, uses: 0 }])
  const [{ certificate, ...claim1 } = { certificate: '' }] = Claims.parse(made)
  expect(certificate).toBeNull()
  expect(await ok('enrollment', 'credentials', 'run')).toEqual([claim1])
  const again = await fleetseal('enrollment', 'claim', 'run', claim, '--max-uses', '3')
  expect([again.code, again.err]).toEqual([1, expect.stringContaining('registered already')])
})

test('a claim certificate of our own', async () => {
  const request = await file('claim.csr', toPem('CERTIFICATE REQUEST', newRequest('run').csr))
  const words = ['enrollment', 'claim', 'run', request, '--max-uses', '3', '--days', '7']
  const early = await fleetseal(...words)
  expect([early.code, early.err]).toEqual([1, expect.stringContaining('authority create')])
  const { id } = z.looseObject({ id: z.string() }).parse(await ok('authority', 'create', 'claims'))
  await ok('authority', 'activate', id)
  const { out } = await fleetseal(...words)
  expect(fromPem(out, 'CERTIFICATE')).toHaveLength(2)
})

test('a file of devices', async () => {
  const good = await file('good.csv', 'serialNumber,name\nP-1,Pump 1\nP-2,\n')
  const into = ['--profile', 'run']
  expect(await ok('device', 'import', good, ...into, '--dry-run')).toMatchObject({ registered: 2 })
  expect(await ok('device', 'list')).toEqual([])
  const { out } = await fleetseal('device', 'import', good, ...into)
  expect(out).toBe('2 rows: 2 registered, 0 unchanged, 0 refused\n')
  const bad = await file('bad.csv', 'serialNumber\nP-3\nP 4\n')
  const answer = await fleetseal('device', 'import', bad, ...into)
  expect(answer.code).toBe(1)
  expect(answer.out).toContain('line 3: P 4: the serial number must be')
  expect(answer.err).toContain('1 of 2 rows were refused')
  const devices = z
    .array(z.looseObject({ serialNumber: z.string() }))
    .parse(await ok('device', 'list'))
  expect(devices.map(({ serialNumber }) => serialNumber).toSorted()).toEqual(['P-1', 'P-2', 'P-3'])
  const missing = await fleetseal('device', 'import', join(folder, 'no'), ...into)
  expect(missing.code).toBe(2)
})

test('what waits for a person', async () => {
  expect(await ok('enrollment', 'requests', '--profile', 'makers')).toEqual([])
  const none = '00000000-0000-7000-8000-000000000000'
  const { code, err } = await fleetseal('enrollment', 'approve', none)
  expect([code, err]).toEqual([1, expect.stringContaining('No such enrollment request')])
})

test('a file of requests', async () => {
  await ok('enrollment', 'create', 'batch', '--group', 'hall')
  const { csr } = newRequest('Q-1')
  const path = await file('requests.csv', `csr\n${csr.toString('base64')}\nnonsense!\n`)
  const made = Batches.parse(await ok('enrollment', 'issue', 'batch', path))
  const id = made[0]?.id ?? ''
  const isDone = async () =>
    Batches.parse(await ok('enrollment', 'batches')).every(({ state }) => state === 'done')
  await expect.poll(isDone, { timeout: 20_000 }).toBe(true)
  expect(await ok('enrollment', 'batch', id)).toMatchObject([
    { row: 1, state: 'issued', serialNumber: 'Q-1', certificate: expect.any(String) as unknown },
    { row: 2, state: 'failed' },
  ])
})

test('a line with limits, paused and resumed', async () => {
  const limits = ['--quota-per-hour', '5', '--network', '10.0.0.0/8', '--network', '::1/128']
  const made = await ok('enrollment', 'create', 'slow', '--group', 'hall', ...limits)
  expect(made).toMatchObject({ quotaPerHour: 5, sourceNetworks: ['10.0.0.0/8', '::1/128'] })
  const { out } = await fleetseal('enrollment', 'pause', 'slow', '--reason', 'recall')
  expect(out).toBe('slow is paused\n')
  expect((await fleetseal('enrollment', 'show', 'slow')).out).toContain('10.0.0.0/8, ::1/128')
  expect(await ok('enrollment', 'resume', 'slow')).toMatchObject({ pausedAt: null })
  const bad = ['enrollment', 'create', 'bad', '--group', 'hall', '--network', 'lab']
  expect((await fleetseal(...bad)).code).not.toBe(0)
})

test('a ZIP of requests', async () => {
  const archive = zipSync({ 'a.csr': newRequest('ZIP-1').csr, 'b.txt': Buffer.from('no!') })
  const path = join(folder, 'requests.ZIP')
  await writeFile(path, archive)
  const made = Batches.parse(await ok('enrollment', 'issue', 'batch', path))
  expect(made).toMatchObject([{ total: 2, failed: 1 }])
  const rows = async () => await ok('enrollment', 'batch', made[0]?.id ?? '')
  await expect.poll(rows, { timeout: 60_000 }).toMatchObject([{ state: 'issued' }, {}])
})
