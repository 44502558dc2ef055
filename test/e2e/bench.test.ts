import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'
import { z } from 'zod'

import { benches } from '../../bench/benches.ts'

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-test-'))
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

async function bench(...args: string[]) {
  const options = ['--disable-warning=ExperimentalWarning', 'bench/main.ts', ...args]
  const child = spawn(process.execPath, options, { stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  let errors = ''
  child.stdout.on('data', (data: Buffer) => (out += data.toString()))
  child.stderr.on('data', (data: Buffer) => (errors += data.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, out, errors }
}

const Row = z.strictObject({
  what: z.string().min(1),
  figure: z.string(),
  target: z.string(),
  met: z.boolean().optional(),
  beside: z.string().optional(),
  ratio: z.number().optional(),
  spread: z.strictObject({ least: z.number(), most: z.number() }).optional(),
  budget: z.string().optional(),
  missing: z.string().optional(),
})
const Report = z.strictObject({
  format: z.literal(1),
  machine: z.looseObject({
    cpu: z.string(),
    cores: z.int().positive(),
    node: z.literal(process.version),
    openssl: z.string(),
    postgres: z.string().regex(/^\d+/),
    peers: z.record(z.string(), z.string()),
    commit: z.string(),
    at: z.iso.datetime(),
  }),
  loadBefore: z.string(),
  loadAfter: z.string(),
  scale: z.literal('smoke'),
  rounds: z.literal(1),
  seconds: z.int(),
  benches: z.array(z.looseObject({ name: z.string(), rows: z.array(Row) })),
})

test(
  'a run measures, says it on the terminal, as JSON and in a page; a peer that is not there is a row',
  {
    timeout: 180_000,
  },
  async () => {
    const [json, page] = [join(folder, 'run.json'), join(folder, 'page.md')]
    await writeFile(page, 'Before\n\n<!-- bench:begin -->\n<!-- bench:end -->\n')
    const files = ['--json', json, '--write', page]
    const { code, out, errors } = await bench(
      '--smoke',
      '--without',
      'mosquitto',
      ...files,
      'connect',
      'bundle',
    )
    expect(errors).not.toContain('Error')
    expect(code).toBe(0)
    expect(out).toContain('Connecting')
    expect(out).toMatch(/not measured: no mosquitto/)

    const report = Report.parse(JSON.parse(await readFile(json, 'utf8')))
    expect(report.machine.peers).not.toHaveProperty('mosquitto')
    expect(report.benches.map(({ name }) => name)).toEqual(['connect', 'bundle'])
    for (const { name, rows } of report.benches) {
      const given = new Set(rows.map(({ budget }) => budget))
      const wanted = benches.find((one) => one.name === name)?.budgets ?? []
      expect(wanted.filter((budget) => !given.has(budget))).toEqual([])
    }
    const rows = report.benches.flatMap((section) => section.rows)
    const of = (budget: string) => rows.find((row) => row.budget === budget)
    expect(of('connect-tls')?.ratio).toBeGreaterThan(0)
    expect(of('connect-mosquitto')).toMatchObject({ missing: 'no mosquitto' })
    expect(of('connect-statements')).toMatchObject({ figure: '24 of 24', met: true })
    expect(of('bundle-raw')?.met).toBe(true)

    const written = await readFile(page, 'utf8')
    expect(written).toMatch(/^Before\n\n<!-- bench:begin -->\n\n20\d\d-/)
    expect(written).toContain('### Connecting')
  },
)

test('a name that does not exist and an option that is wrong are told, and nothing is started', async () => {
  const wrong = await bench('--smoke', 'no-such-bench')
  expect(wrong.code).toBe(2)
  expect(wrong.errors).toMatch(/There is no measurement no-such-bench; there are connect, /)
  expect((await bench('--rounds', 'x')).code).toBe(2)
  const { code, out } = await bench('--list')
  expect(code).toBe(0)
  expect(out).toMatch(/^connect /m)
})
