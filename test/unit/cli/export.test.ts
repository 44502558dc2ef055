import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { runProgram } from '../../../cli/program.ts'
import { rolloutView } from '../../support/rollout-view.ts'

const id = '01890000-0000-7000-8000-000000000001'
const rollout = rolloutView({ id, counts: { succeeded: 2 } })

let folder: string
let server: Server
let results: (res: ServerResponse) => void
let asked: string[]
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-export-'))
  await writeFile(join(folder, 'key'), `fs_${'a'.repeat(43)}\n`)
  asked = []
  server = createServer((req, res) => {
    asked.push(`${req.headers.accept} ${req.url}`)
    if (req.url?.includes('/results')) results(res)
    else res.writeHead(200, { 'Content-Type': 'application/json' }).end(JSON.stringify(rollout))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
})
afterEach(async () => {
  server.closeAllConnections()
  server.close()
  await rm(folder, { recursive: true })
})

async function run(...more: string[]) {
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  let out = ''
  let err = ''
  const where = ['--server', `http://127.0.0.1:${port}`, '--api-key-file', join(folder, 'key')]
  const code = await runProgram(['rollout', 'export', id, ...where, ...more], {
    env: {},
    stdout: { write: (text) => (out += text) },
    stderr: { write: (text) => (err += text) },
    ask: async () => undefined,
    now: () => new Date('2030-01-01T00:00:00Z'),
    sleep: async () => {},
    signal: new AbortController().signal,
  })
  return { code, out, err }
}

const whole = 'deviceId,state\r\na,succeeded\r\nb,succeeded\r\n'
const file = () => join(folder, 'results.csv')
/** What is in the folder beside the key. */
const left = async () => (await readdir(folder)).filter((name) => name !== 'key')

test('the results come as they are sent, and nothing else is left', async () => {
  results = (res) => {
    res.writeHead(200, { 'Content-Type': 'text/csv' })
    res.write(whole.slice(0, 20))
    res.end(whole.slice(20))
  }
  const { code, out, err } = await run('--out', file())
  expect({ code, out }, err).toEqual({ code: 0, out: `${file()}: ${whole.length} B\n` })
  expect(err).toContain('100%')
  expect(await readFile(file(), 'utf8')).toBe(whole)
  expect(await left()).toEqual(['results.csv'])
  expect(asked.at(-1)).toBe(`text/csv /api/v1/rollouts/${id}/results?format=csv`)
})

test('JSON, with an answer for a script and no bar', async () => {
  results = (res) => res.writeHead(200).end('[]\n')
  const { code, out, err } = await run('--out', file(), '--format', 'json', '--json')
  expect([code, err]).toEqual([0, ''])
  expect(JSON.parse(out)).toEqual({ rolloutId: id, file: file(), format: 'json', size: 3 })
  expect(asked.at(-1)).toBe(`application/json /api/v1/rollouts/${id}/results?format=json`)
})

test('what breaks off leaves nothing, and not less than there was', async () => {
  results = (res) => {
    res.writeHead(200, { 'Content-Type': 'text/csv' })
    res.write(whole.slice(0, 20), () => res.destroy())
  }
  const broken = await run('--out', file())
  expect(broken.code).toBe(1)
  expect(broken.err).toContain('did not come whole')
  expect(await left()).toEqual([])
  await writeFile(file(), 'of yesterday')
  expect((await run('--out', file(), '--force')).code).toBe(1)
  expect(await readFile(file(), 'utf8')).toBe('of yesterday')
  expect(await left()).toEqual(['results.csv'])
})

test('a file that is there is replaced with --force only', async () => {
  results = (res) => res.writeHead(200).end(whole)
  await writeFile(file(), 'of yesterday')
  const refused = await run('--out', file())
  expect(refused.code).toBe(2)
  expect(refused.err).toContain('--force')
  expect([asked, await readFile(file(), 'utf8')]).toEqual([[], 'of yesterday'])
  expect((await run('--out', file(), '--force')).code).toBe(0)
  expect(await readFile(file(), 'utf8')).toBe(whole)
})

test('one that somebody makes meanwhile is not replaced', async () => {
  results = (res) => {
    void writeFile(file(), 'of a colleague').then(() => res.writeHead(200).end(whole))
  }
  expect((await run('--out', file())).code).toBe(2)
  expect(await readFile(file(), 'utf8')).toBe('of a colleague')
  expect(await left()).toEqual(['results.csv'])
})

test('a refusal is told as it is; no folder, no name and no such format are refused', async () => {
  results = (res) => res.writeHead(404).end(JSON.stringify({ code: 'not-found', detail: 'None' }))
  const none = await run('--out', file())
  expect(none).toMatchObject({ code: 1, err: expect.stringContaining('not-found: None') })
  results = (res) => res.writeHead(200).end(whole)
  const nowhere = await run('--out', join(folder, 'none', 'results.csv'))
  expect(nowhere).toMatchObject({ code: 2, err: expect.stringContaining('a folder?') })
  expect((await run()).code).toBe(2)
  expect((await run('--out', file(), '--format', 'xml')).code).toBe(2)
  expect(await left()).toEqual([])
})
