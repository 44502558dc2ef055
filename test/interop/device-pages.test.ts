import { execFile, spawnSync } from 'node:child_process'
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { expect, test } from 'vitest'

import { openSite } from '../support/operator.ts'
import { startServer } from '../support/server.ts'

const run = promisify(execFile)
const missing = ['mosquitto_sub', 'curl', 'openssl'].filter(
  (one) => spawnSync(one, ['version']).error,
)
const why = missing.length > 0 ? ` (${missing.join(', ')} not installed)` : ''

test.skipIf(missing.length > 0)(`the page about plain MQTT, as it is written${why}`, async () => {
  const page = await readFile(new URL('../../docs/devices/mqtt.md', import.meta.url), 'utf8')
  const blocks = [...page.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block = '']) => block)
  expect(blocks).toHaveLength(2)
  await using server = await startServer({})
  const site = await openSite(server)
  const folder = await mkdtemp(join(tmpdir(), 'fleetseal-page-'))
  try {
    await copyFile(server.ca, join(folder, 'root.pem'))
    await writeFile(join(folder, 'token'), site.token)
    const script = blocks
      .join('\n')
      .replaceAll('HOST:8444', `localhost:${server.ports.device}`)
      .replaceAll('-h HOST -p 8883', `-h localhost -p ${server.ports.mqtt}`)
    await run('bash', ['-e', '-o', 'pipefail', '-c', script], { cwd: folder, timeout: 120_000 })
    const bundle: unknown = JSON.parse(await readFile(join(folder, 'bundle.json'), 'utf8'))
    expect(bundle).toHaveProperty('director')
    const shown = await site.operator.fleetseal<{ model: string }>('device', 'show', 'SN-1')
    expect(shown.model).toBe('gate-2')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
