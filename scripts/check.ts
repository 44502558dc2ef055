import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** `npm run check`: types, lint, format, tests; each step runs even when one before it failed, so one run shows all. */
const bin = (name: string) =>
  fileURLToPath(new URL(`../node_modules/.bin/${name}`, import.meta.url))
const folders = [
  'server',
  'pki',
  'device-sim',
  'cli',
  'client',
  'console',
  'demo',
  'bench',
  'chaos',
  'scripts',
  'test',
].filter((folder) => existsSync(new URL(`../${folder}`, import.meta.url)))
const steps: [name: string, command: string, args: string[]][] = [
  ['types', bin('tsc'), ['--noEmit', '-p', '.']],
  ['lint', bin('oxlint'), ['--type-aware', ...folders]],
  ['format', bin('oxfmt'), ['--check']],
  ['tests', process.execPath, [fileURLToPath(new URL('test.ts', import.meta.url))]],
]
const failed = steps.filter(([name, command, args]) => {
  console.log(`— ${name}`)
  return spawnSync(command, args, { stdio: 'inherit' }).status !== 0
})
console.log(
  failed.length === 0
    ? 'check: clean'
    : `check: failed: ${failed.map(([name]) => name).join(', ')}`,
)
process.exit(failed.length === 0 ? 0 : 1)
