import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { type RunningServer, startServer } from '../support/server.ts'

const needed = ['bash', 'openssl', 'curl', 'mosquitto_sub']
const missing = needed.filter((name) => spawnSync('sh', ['-c', `command -v ${name}`]).status !== 0)
const why = missing.length > 0 ? ` (skipped: ${missing.join(', ')} not installed)` : ''
const fromRoot = (path: string) => fileURLToPath(new URL(`../../${path}`, import.meta.url))

let server: RunningServer
let folder: string
beforeAll(async () => {
  if (missing.length > 0) return
  server = await startServer()
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-readme-'))
  await symlink(server.dataDir, join(folder, 'data'))
})
afterAll(async () => {
  await server?.[Symbol.asyncDispose]()
  if (folder) await rm(folder, { recursive: true, force: true })
})

test.skipIf(missing.length > 0)(`the walk of the README works as it is printed${why}`, async () => {
  const readme = await readFile(fromRoot('README.md'), 'utf8')
  const [, walk = ''] = /## Ten minutes .*?```sh\n(.*?)```/s.exec(readme) ?? []
  expect(walk).toContain('simpleenroll')
  const { api, device, mqtt } = server.ports
  // The reader has the default ports and the checkout's own folder, where npx finds the command by package.json.
  const typed = walk
    .replaceAll(':8443', `:${api}`)
    .replaceAll(':8444', `:${device}`)
    .replaceAll('-p 8883', `-p ${mqtt}`)
    .replaceAll('npx fleetseal', `'${fromRoot('cli/fleetseal.cjs')}'`)
  const child = spawn('bash', ['-euo', 'pipefail', '-c', typed], {
    cwd: folder,
    env: { PATH: process.env['PATH'], FLEETSEAL_SERVER: `https://localhost:${api}` },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const [code] = await once(child, 'exit')
  expect(`${output}\nexit ${code}`).toContain('exit 0')
  expect(output).toContain('refused, as it should be')
  const bytes = await readFile(join(folder, 'gate-2.bin'))
  const { createHash } = await import('node:crypto')
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  expect(await readFile(join(folder, 'bundle.json'), 'utf8')).toContain(sha256)
  expect((await readFile(join(folder, sha256))).equals(bytes)).toBe(true)
})
