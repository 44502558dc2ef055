import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

import { expect, test } from 'vitest'

/* Every call, asked by a generator of somebody else: docs/operations.md, "Asked by a generator". It takes minutes. */

const schemathesis = process.env['FLEETSEAL_SCHEMATHESIS']
if (schemathesis === undefined) {
  console.warn('fuzz-api.test.ts is skipped: FLEETSEAL_SCHEMATHESIS names no schemathesis')
}

test.skipIf(schemathesis === undefined)(
  'a generator finds no 5xx, no answer that is not described, and nothing taken that is refused by the description',
  async () => {
    const child = spawn(
      process.execPath,
      ['scripts/fuzz-api.ts', '--schemathesis', schemathesis ?? ''],
      {
        cwd: fileURLToPath(new URL('../../', import.meta.url)),
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-20_000)
      })
    }
    const [code] = (await once(child, 'close')) as [number | null]
    expect(code, output).toBe(0)
    expect(output).toContain('fuzz-api: clean')
  },
  900_000,
)
