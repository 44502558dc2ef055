import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'

// `npm test`, or `npm test -- --project unit FILE…`: hands everything to vitest, under the pinned Node.
const vitest = fileURLToPath(new URL('../node_modules/vitest/vitest.mjs', import.meta.url))
const done = spawnSync(process.execPath, [vitest, 'run', ...process.argv.slice(2)], {
  stdio: 'inherit',
})
process.exit(done.status ?? 1)
