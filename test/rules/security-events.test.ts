import { globSync, readFileSync, writeFileSync } from 'node:fs'

import { expect, test } from 'vitest'

import { catalogue, meaningOf } from '../../server/events/catalogue.ts'

const page = 'docs/security-events.md'
const marks = ['<!-- kinds -->', '<!-- end of kinds -->'] as const

const table = catalogue
  .flatMap(([title, kinds]) => [
    `### ${title}`,
    '',
    '| kind | at most | what happened | what to do |',
    '| --- | --- | --- | --- |',
    ...kinds.map(({ kind, severity, about, means, todo }) => {
      const mark = about === 'device' ? ' ◇' : ''
      return `| \`${kind}\`${mark} | ${severity} | ${means} | ${todo.replaceAll('|', '\\|')} |`
    }),
    '',
  ])
  .join('\n')

/** `UPDATE=1 vitest run --project rules test/rules/security-events.test.ts` writes it. */
test('the page lists exactly the kinds that there are', () => {
  const text = readFileSync(page, 'utf8')
  const [before = '', rest = ''] = text.split(marks[0])
  const after = rest.split(marks[1])[1] ?? ''
  if (process.env['UPDATE']) {
    writeFileSync(page, `${before}${marks[0]}\n\n${table}\n${marks[1]}${after}`)
  }
  const plain = (markdown: string) => markdown.replaceAll(/[ -]{2,}/g, ' ').replaceAll(/-+/g, '-')
  const shown = readFileSync(page, 'utf8').split(marks[0])[1]?.split(marks[1])[0] ?? ''
  expect(plain(shown).trim()).toBe(plain(table).trim())
})

test('no kind stands twice', () => {
  const kinds = catalogue.flatMap(([, rows]) => rows.map(({ kind }) => kind))
  expect(kinds).toEqual([...new Set(kinds)])
})

/** Words that stand for a kind of an event: in an object with a source, or passed on by name. */
const recorded =
  /source: 'server'(?: as const)?,\s*kind(?:: (?:'([a-z0-9-]+)'|(\w+) \? '([a-z0-9-]+)' : '([a-z0-9-]+)'|`([^`]+)`))?/g

test('every kind that the server records is in the catalogue', () => {
  const missing: string[] = []
  let seen = 0
  for (const file of globSync('server/**/*.ts')) {
    for (const [, one, , yes, no] of readFileSync(file, 'utf8').matchAll(recorded)) {
      for (const kind of [one, yes, no]) {
        if (kind === undefined) continue
        seen += 1
        if (!meaningOf(kind)) missing.push(`${file}: ${kind}`)
      }
    }
  }
  expect(seen).toBeGreaterThan(25)
  expect(missing).toEqual([])
})

test('so is every reason for which a connection of a device is refused', () => {
  const refusal = readFileSync('server/mqtt/refusal.ts', 'utf8')
  const suspicious = /const suspicious = \[(.*?)\] as const/s.exec(refusal)?.[1] ?? ''
  const identity = readFileSync('server/identity.ts', 'utf8')
  const verdicts = /export type Refusal =(.*?)\n\n/s.exec(identity)?.[1] ?? ''
  const reasons = [...`${suspicious}${verdicts}`.matchAll(/'([a-z-]+)'/g)].map(([, one]) => one)
  expect(reasons.length).toBeGreaterThan(25)
  expect(reasons.filter((reason) => !meaningOf(`mqtt-${reason}`))).toEqual([])
})
