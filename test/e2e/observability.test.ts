import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { createSender } from '../../cli/send.ts'
import { type Agents, createAgents } from '../support/agents.ts'
import { openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'
import { startCollector } from '../support/trace-collector.ts'

let collector: Awaited<ReturnType<typeof startCollector>>
let server: RunningServer
let site: Site
let agents: Agents

beforeAll(async () => {
  collector = await startCollector()
  server = await startServer({
    FLEETSEAL_OTLP_ENDPOINT: collector.url,
    FLEETSEAL_OTLP_HEADERS: 'X-Tenant=fleet-7',
  })
  site = await openSite(server)
  agents = createAgents(server, site)
  await agents.powerUp('seen-1')
})
afterAll(async () => {
  await agents[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
  await collector[Symbol.asyncDispose]()
})

async function ask(path: string, headers: Record<string, string> = {}) {
  using sender = createSender({
    server: `https://localhost:${server.ports.api}`,
    ca: await readFile(server.ca, 'utf8'),
    apiKey: (await server.apiKey()).trim(),
    timeoutMs: 30_000,
  })
  const incoming = await sender.open({ method: 'GET', path, headers })
  let text = ''
  for await (const chunk of incoming) text += String(chunk)
  return { status: incoming.statusCode, text }
}

async function waitFor(holds: () => Promise<boolean>, limitMs = 60_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${holds.toString()}`)
    await sleep(250)
  }
}

async function found<T>(look: () => T | undefined, limitMs = 60_000): Promise<T> {
  const end = Date.now() + limitMs
  for (;;) {
    const value = look()
    if (value !== undefined) return value
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${look.toString()}`)
    await sleep(50)
  }
}

const folder = (name: string) =>
  fileURLToPath(new URL(`../../deploy/prometheus/${name}`, import.meta.url))
const hasPromtool = spawnSync('promtool', ['--version']).status === 0
const promtool = (args: string[], cwd: string, input = '') =>
  spawnSync('promtool', args, { encoding: 'utf8', cwd, input })

test('the numbers of enrollment, signing and messages are there', async () => {
  await waitFor(async () =>
    /mqtt_group_seconds_count\{.*\} [1-9]/.test((await ask('/metrics')).text),
  )
  // What is read from the database is shown for 15 s.
  await waitFor(async () =>
    (await ask('/metrics')).text.includes('fleetseal_devices{state="active"} 1'),
  )
  const { status, text } = await ask('/metrics')
  expect(status).toBe(200)
  const has = (line: RegExp) => expect(text).toMatch(line)
  has(/^fleetseal_est_requests_total\{operation="simpleenroll",outcome="done"\} 1$/m)
  has(/^fleetseal_signing_seconds_count\{kind="certificate",outcome="done"\} [1-9]/m)
  has(/^fleetseal_signing_seconds_count\{kind="crl",outcome="done"\} [1-9]/m)
  has(/^fleetseal_mqtt_group_seconds_count\{outcome="done"\} [1-9]/m)
  has(/^fleetseal_devices\{state="active"\} 1$/m)
  has(/^fleetseal_fleet_readable 1$/m)
  has(/^fleetseal_expiry_timestamp_seconds\{kind="device-certificate"\} \d+$/m)
  has(/^fleetseal_expiry_timestamp_seconds\{kind="crl"\} \d+$/m)
})

test.skipIf(!hasPromtool)(
  'promtool finds nothing wrong with the metrics (without promtool: skipped)',
  async () => {
    const { text } = await ask('/metrics')
    const { status, stdout, stderr } = promtool(['check', 'metrics'], folder(''), text)
    // Those of Node itself are named by prom-client.
    const ours = `${stdout}${stderr}`
      .split('\n')
      .filter((line) => !line.startsWith('fleetseal_nodejs_'))
    expect(ours.join('\n')).toBe('')
    expect([0, 3]).toContain(status)
  },
)

interface Dashboard {
  panels: { id: number; type: string; targets?: { expr: string }[] }[]
}
const dashboard = JSON.parse(readFileSync(folder('fleetseal-dashboard.json'), 'utf8')) as Dashboard

test.skipIf(!hasPromtool)(
  'promtool takes the rules, their tests, the configuration and every query of the dashboard (without promtool: skipped)',
  async () => {
    const dir = await mkdtemp(join(tmpdir(), 'fleetseal-promtool-'))
    await cp(folder(''), dir, { recursive: true })
    for (const name of ['metrics-token', 'root.pem']) await writeFile(join(dir, name), '')
    const queries = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr))
    expect(queries.length).toBeGreaterThan(20)
    const rules = queries.map((expr, n) => ({
      record: `query_${n}`,
      expr: expr.replaceAll('$__rate_interval', '5m').replaceAll('$job', '.*'),
    }))
    await writeFile(
      join(dir, 'queries.json'),
      JSON.stringify({ groups: [{ name: 'dashboard', rules }] }),
    )
    for (const args of [
      ['check', 'rules', 'fleetseal-alerts.yml', 'queries.json'],
      ['test', 'rules', 'fleetseal-alerts.test.yml'],
      ['check', 'config', 'prometheus.yml'],
    ]) {
      const { status, stdout, stderr } = promtool(args, dir)
      expect(`${args.join(' ')}: ${status}`, stdout + stderr).toBe(`${args.join(' ')}: 0`)
    }
    await rm(dir, { recursive: true })
  },
)

test('each panel of the dashboard has an id of its own', () => {
  const ids = dashboard.panels.map(({ id }) => id)
  expect(new Set(ids).size).toBe(ids.length)
})

test('rules and dashboard ask for metrics that exist', async () => {
  const { text } = await ask('/metrics')
  const names = new Set(
    [...text.matchAll(/^# TYPE (\w+) (\w+)$/gm)].flatMap(([, name = '', kind]) =>
      kind === 'histogram' ? [`${name}_bucket`, `${name}_count`, `${name}_sum`] : [name],
    ),
  )
  for (const file of ['fleetseal-alerts.yml', 'fleetseal-dashboard.json']) {
    const asked = new Set(readFileSync(folder(file), 'utf8').match(/\bfleetseal_\w+/g))
    expect(asked.size, file).toBeGreaterThan(8)
    expect(
      [...asked].filter((name) => !names.has(name)),
      file,
    ).toEqual([])
  }
})

test('a request goes on with the trace that it came with, down to its statements', async () => {
  const traceId = '0af7651916cd43dd8448eb211c80319c'
  const parentSpanId = 'b7ad6b7169203331'
  await ask('/api/v1/devices?state=active', { traceparent: `00-${traceId}-${parentSpanId}-01` })
  const request = await found(() =>
    collector.spans.find((span) => span.traceId === traceId && span.parentSpanId === parentSpanId),
  )
  expect(request.name).toBe('GET /api/v1/devices')
  expect(request.attributes).toMatchObject({
    'http.request.method': 'GET',
    'http.route': '/api/v1/devices',
    'http.response.status_code': 200,
    'fleetseal.listener': 'api',
  })
  const statement = await found(() =>
    collector.spans.find(
      (span) =>
        span.traceId === traceId &&
        span.parentSpanId === request.spanId &&
        String(span.attributes['db.query.text']).includes('"device"'),
    ),
  )
  expect(statement.name).toBe('SELECT')
})

test('the way of a device is traced as well, and the collector is shown the header', async () => {
  await found(() => collector.spans.find(({ name }) => name === 'sign certificate'))
  await found(() => collector.spans.find(({ name }) => name === 'store messages'))
  const enroll = await found(() =>
    collector.spans.find(({ name }) => name.startsWith('POST /.well-known/est/')),
  )
  const sign = collector.spans.find(
    ({ name, traceId }) => name === 'sign certificate' && traceId === enroll.traceId,
  )
  expect(sign).toBeDefined()
  expect(new Set(collector.headers)).toEqual(new Set(['fleet-7']))
})

test('no secret and no value of a statement is in a trace', async () => {
  await found(() => collector.spans.find(({ name }) => name === 'store messages'))
  const key = (await server.apiKey()).trim()
  expect(collector.text()).not.toContain(key)
  expect(collector.text()).not.toContain(site.token)
  expect(collector.text()).not.toContain('seen-1')
  expect(collector.text()).not.toContain('fleet-7')
  expect(collector.text()).toContain('$1')
})
