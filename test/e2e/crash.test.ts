import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

import { createTestDatabase } from '../support/database.ts'

const demo = fileURLToPath(new URL('../../demo/main.ts', import.meta.url))

/**
 * Runs the demo, which kills its own server at random moments and judges the outcome itself: every device where it should
 * be, no acknowledged report missing in the server's history, no serial number issued twice, the rollout completed.
 */
async function runDemo(args: string[], environment: Record<string, string> = {}) {
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', demo, ...args], {
    env: { PATH: process.env['PATH'], ...environment },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (output += chunk))
  const [code] = await once(child, 'exit')
  return { code, output }
}

test('kill -9 of the server in the middle of it all loses nothing, on the embedded database', async () => {
  const { code, output } = await runDemo(['--devices', '8', '--chaos', '4'])
  expect(output).toContain('All as it should be')
  expect(output).toContain('kill -9')
  expect(code).toBe(0)
})

test('the same on PostgreSQL', async () => {
  await using database = await createTestDatabase()
  if (database.kind !== 'postgres') throw new Error('This test wants PostgreSQL')
  const { code, output } = await runDemo(['--devices', '8', '--chaos', '4'], {
    FLEETSEAL_DEMO_DATABASE_URL: database.url,
  })
  expect(output).toContain('All as it should be')
  expect(output).toContain('kill -9')
  expect(code).toBe(0)
})
