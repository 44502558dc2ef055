import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { expect, test } from 'vitest'
import { z } from 'zod'

/** No container engine runs here, so what is shipped for one is held to rules instead. */
const dockerfile = readFileSync('deploy/Dockerfile', 'utf8')
const compose = readFileSync('deploy/compose.yaml', 'utf8')
const unit = readFileSync('deploy/fleetseal.service', 'utf8')
const has = (program: string) => spawnSync(program, ['--version']).status === 0

/** Instructions, with continued lines joined. */
const instructions = dockerfile
  .replaceAll(/\\\n\s*/g, ' ')
  .split('\n')
  .filter((line) => line !== '' && !line.startsWith('#'))
  .map((line) => {
    const [word = '', ...rest] = line.split(' ')
    return { word, text: rest.join(' ').trim() }
  })
const last = (word: string) => instructions.findLast((one) => one.word === word)?.text ?? ''

test('images are named by an exact version, and Node is the one that the program is tested with', () => {
  const { dependencies } = z
    .looseObject({ dependencies: z.record(z.string(), z.string()) })
    .parse(JSON.parse(readFileSync('package.json', 'utf8')))
  const bases = instructions
    .filter(({ word }) => word === 'FROM')
    .map(({ text }) => text.split(' ')[0])
  expect(bases.length).toBeGreaterThan(0)
  for (const base of bases) expect(base).toMatch(new RegExp(`^node:${dependencies['node']}-`))
  for (const [, image = ''] of compose.matchAll(/^ +image: (.+)$/gm)) {
    expect(image).toMatch(/^[a-z]+:\d+\.\d+(\.\d+)?(-[a-z]+)?$/)
  }
})

test('the image runs as nobody in particular, is looked after, stops in order, and holds no secret', () => {
  expect(last('USER')).toMatch(/^[1-9]\d*:[1-9]\d*$/)
  const order = instructions.map(({ word }) => word)
  expect(order.lastIndexOf('USER')).toBeLessThan(order.lastIndexOf('ENTRYPOINT'))
  expect(last('HEALTHCHECK')).toContain('server/health.ts')
  expect(last('ENTRYPOINT')).toMatch(/^\["node", .*"\/app\/server\/main\.ts"\]$/)
  expect(last('STOPSIGNAL')).toBe('SIGTERM')
  expect(order).not.toContain('ADD')
  const words = instructions.filter(({ word }) => word === 'ENV' || word === 'ARG')
  expect(words.map(({ text }) => text).join()).not.toMatch(/password|secret|token|key/i)
  for (const { text } of instructions.filter(({ word }) => word === 'RUN')) {
    expect(text).not.toMatch(/curl|wget|sudo|apt-get upgrade/)
  }
})

test('what is copied is there, is let through by the ignore file, and is all that the server imports', () => {
  const ignored = readFileSync('deploy/Dockerfile.dockerignore', 'utf8').split('\n')
  expect(ignored[0]).toBe('*')
  const copied = instructions
    .filter(({ word, text }) => word === 'COPY' && !text.startsWith('--from'))
    .flatMap(({ text }) => text.split(' ').slice(0, -1))
  for (const path of copied) {
    expect(existsSync(path), path).toBe(true)
    expect(ignored).toContain(`!${path}`)
  }
  const used = new Set(
    globSync('{server,pki,cli}/**/*.ts').flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/'((?:\.\.\/)+)([a-z-]+)\/[^']*'/g)]
        .filter(([, up = '']) => up.length / 3 === file.split('/').length - 1)
        .map(([, , top = '']) => top),
    ),
  )
  expect([...used].filter((top) => existsSync(top) && !copied.includes(top))).toEqual([])
})

/** The lines below a service of the compose file. */
function service(name: string): string {
  const [, rest = ''] = compose.split(`\n  ${name}:\n`)
  return rest.split(/\n(?: {2})?[a-z-]+:\n/)[0] ?? ''
}

test('services of the compose file: bounded, without rights, read-only, with secrets from files', () => {
  expect(compose).not.toMatch(/privileged|docker\.sock|network_mode|pid: host|:latest/)
  for (const name of ['server', 'database']) {
    const text = service(name)
    expect(text, name).toContain('read_only: true')
    expect(text, name).toContain('cap_drop: [ALL]')
    expect(text, name).toContain('no-new-privileges:true')
    for (const limit of ['pids_limit', 'mem_limit', 'cpus', 'stop_grace_period', 'restart']) {
      expect(text, name).toContain(`${limit}:`)
    }
    expect(text, name).toContain('/run/secrets/')
  }
  expect(service('server')).toMatch(/user: '[1-9]\d*:/)
  expect(service('server')).toContain("'127.0.0.1:8443:8443'")
  expect(service('database')).not.toContain('ports:')
  expect(service('database')).toContain('networks: [inside]')
  expect(compose).toMatch(/inside:\n\s+internal: true/)
})

test('every secret that is used is declared, and every setting is one that the server knows', () => {
  const declared = [...(compose.split('\nsecrets:\n')[1] ?? '').matchAll(/^ {2}([a-z-]+):$/gm)].map(
    ([, name]) => name,
  )
  const used = [...compose.matchAll(/\/run\/secrets\/([a-z-]+)/g)].map(([, name]) => name)
  expect(new Set(used)).toEqual(new Set(declared))
  const known = globSync('server/*config*.ts')
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n')
  const named = `${compose}\n${dockerfile}\n${unit}`.matchAll(
    /\b((?:FLEETSEAL|DATABASE)_[A-Z_]+?)(?:_FILE)?[:=]/g,
  )
  for (const [, name = ''] of named) {
    expect(known.includes(name) || known.includes(`${name}_FILE`), name).toBe(true)
  }
})

test.skipIf(!has('systemd-analyze'))(
  'the unit is understood by systemd, and exposes little',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'fleetseal-unit-'))
    const file = join(folder, 'fleetseal.service')
    // Only the place of the program differs here.
    writeFileSync(file, unit.replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`))
    const verified = spawnSync('systemd-analyze', ['verify', '--man=no', file], {
      encoding: 'utf8',
    })
    const shown = spawnSync('systemd-analyze', ['security', '--offline=true', '--no-pager', file], {
      encoding: 'utf8',
    })
    rmSync(folder, { recursive: true, force: true })
    expect(verified.stderr).toBe('')
    expect(verified.status).toBe(0)
    const [, score] = /exposure level for \S+: ([\d.]+)/.exec(shown.stdout) ?? []
    expect(Number(score)).toBeLessThanOrEqual(1.5)
  },
)

test.skipIf(!has('shellcheck'))(
  'the scripts hold nothing that shellcheck knows to be wrong',
  () => {
    const { stdout, status } = spawnSync('shellcheck', ['--severity=warning', '.ci/run'], {
      encoding: 'utf8',
    })
    expect(stdout).toBe('')
    expect(status).toBe(0)
  },
)
