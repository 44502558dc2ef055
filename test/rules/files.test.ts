import { globSync, readFileSync } from 'node:fs'
import { basename, dirname } from 'node:path/posix'

import { expect, test } from 'vitest'

const files = globSync(
  '{server,pki,device-sim,cli,client,console,demo,bench,scripts,test}/**/*.ts',
  {
    exclude: (path) => path.includes('node_modules'),
  },
)
const textOf = (file: string) => readFileSync(file, 'utf8')

/** As the linter counts: neither blank lines nor comments. */
const isCode = (line: string) => !/^\s*(?:$|\/\/|\/\*|\*)/.test(line)

test('no file is longer than 300 lines', () => {
  const long = files
    // Written by a script.
    .filter((file) => file !== 'client/generated.ts')
    .map((file) => ({ file, lines: textOf(file).split('\n').filter(isCode).length }))
    .filter(({ lines }) => lines > 300)
  expect(long).toEqual([])
})

test('no folder or file is a drawer for odds and ends, and none only passes others on', () => {
  const drawers = files.filter((file) =>
    /(^|\/)(utils?|helpers?|common|misc|shared|index)(\/|\.|-|$)/.test(
      file.replace(/\.test\.ts$/, '.ts'),
    ),
  )
  const barrels = files.filter((file) => /^export \* from/m.test(textOf(file)))
  expect([...drawers, ...barrels]).toEqual([])
})

test('names are kebab-case', () => {
  const odd = files.filter(
    (file) =>
      !/^[a-z0-9-]+(\.test|\.config|\.d)?\.ts$/.test(basename(file)) ||
      /[A-Z_]/.test(dirname(file)),
  )
  expect(odd).toEqual([])
})

test('the environment is read in one place a program', () => {
  const readers = files.filter(
    (file) =>
      !/^(test|bench|scripts)\//.test(file) &&
      !/^(server|server\/backup|cli|device-sim|demo)\/main\.ts$|^server\/health\.ts$/.test(file) &&
      /process\.env\b/.test(textOf(file)),
  )
  expect(readers).toEqual([])
})

test('the clock is the only source of time on the server', () => {
  const readers = files.filter(
    (file) =>
      /^(server|pki)\//.test(file) &&
      file !== 'server/clock.ts' &&
      /\bDate\.now\(\)|new Date\(\)/.test(textOf(file)),
  )
  expect(readers).toEqual([])
})
