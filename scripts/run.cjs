#!/usr/bin/env node
// Works under any Node that npm itself runs on (and so stays plain CommonJS): installs exactly what the lockfile says when
// it is not there yet, then hands over to the pinned Node 24 from node_modules. Used by every script of package.json.
'use strict'
const { spawn, spawnSync } = require('node:child_process')
const { createHash } = require('node:crypto')
const { existsSync, readFileSync, writeFileSync } = require('node:fs')
const { constants } = require('node:os')
const { join, resolve } = require('node:path')

const root = resolve(__dirname, '..')
const pinnedNode = join(
  root,
  'node_modules',
  'node',
  'bin',
  process.platform === 'win32' ? 'node.exe' : 'node',
)
const stamp = join(root, 'node_modules', '.installed-lockfile')

/** npm ci, when node_modules does not match the lockfile. Everything goes to stderr: stdout belongs to the command. */
function install() {
  const wanted = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex')
  if (existsSync(pinnedNode) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted) return
  console.error('fleetseal: installing the exact dependencies of package-lock.json (npm ci) …')
  const npm = process.env.npm_execpath
  const [command, args] = npm ? [process.execPath, [npm]] : ['npm', []]
  const done = spawnSync(command, [...args, 'ci', '--no-audit', '--no-fund', '--loglevel=error'], {
    cwd: root,
    stdio: ['ignore', 2, 2],
    env: { ...process.env, npm_config_engine_strict: 'false' },
  })
  if (done.status !== 0 || !existsSync(pinnedNode)) {
    console.error('fleetseal: npm ci failed; run it by hand in this folder to see why.')
    process.exit(1)
  }
  writeFileSync(stamp, wanted)
}

const commands = {
  start: ['server/main.ts'],
  demo: ['demo/main.ts'],
  device: ['device-sim/main.ts'],
  cli: ['cli/main.ts'],
  bench: ['bench/main.ts'],
  soak: ['bench/soak.ts'],
  chaos: ['chaos/main.ts'],
  simulate: ['bench/simulate.ts'],
  test: ['scripts/test.ts'],
  check: ['scripts/check.ts'],
  sbom: ['scripts/sbom.ts'],
}

const [name, ...rest] = process.argv.slice(2)
const command = commands[name]
if (!command) {
  console.error(
    `fleetseal: no such command: ${name ?? '(none)'}; there are ${Object.keys(commands).join(', ')}`,
  )
  process.exit(2)
}
install()
const child = spawn(
  pinnedNode,
  ['--disable-warning=ExperimentalWarning', join(root, command[0]), ...rest],
  {
    cwd: name === 'cli' || name === 'device' ? process.cwd() : root,
    stdio: 'inherit',
    env: {
      ...process.env,
      PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH ?? ''}`,
    },
  },
)
// A terminal sends SIGINT to the whole group; a service manager signals only this process, so pass it on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => child.kill(signal))
// npm passes a signal to the shell between us, which dies of it and tells nobody. (`npm start` has no shell there: `exec`.)
if (process.env.npm_lifecycle_event && process.platform !== 'win32') {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    child.kill('SIGTERM')
  }, 250)
  watch.unref()
}
child.on('exit', (code, signal) =>
  process.exit(signal ? 128 + (constants.signals[signal] ?? 0) : (code ?? 1)),
)
