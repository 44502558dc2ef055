import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'

import { chainHash, chainStart } from '../../pki/audit/chain.ts'
import { recordAudits } from '../../server/audit/audit.ts'
import { ensureAuditKey } from '../../server/audit/keys.ts'
import { sealBatch } from '../../server/audit/seal.ts'
import { findStream } from '../../server/audit/stream-store.ts'
import { SyslogStream, syslogStream } from '../../server/audit/syslog.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { createMetrics } from '../../server/metrics.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { emptyLog, givenLog, givenRows } from '../support/audit.ts'
import { createTestDatabase } from '../support/database.ts'
import { freePort } from '../support/postgres.ts'
import { selfSigned, startReceiver } from '../support/syslog.ts'

/* Audit rows go to a receiver of syslog over TLS, in the order of the chain, and none is lost. */
let handle: DatabaseHandle
let api: TestApi
let folder: string
let receiver: { cert: string; key: string }

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-syslog-'))
  receiver = selfSigned(folder, 'receiver')
  handle = await createTestDatabase()
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})
beforeEach(async () => {
  await emptyLog(handle.db)
  await ensureAuditKey(api.ctx)
})

const settings = (port: number, more: { certFile?: string; keyFile?: string } = {}) => ({
  host: 'localhost',
  port,
  caFile: receiver.cert,
  certFile: more.certFile,
  keyFile: more.keyFile,
})
const newStream = (port: number, more = {}, settleMs = 0) =>
  new SyslogStream(
    { ...api.ctx, metrics: createMetrics(), nodeId: crypto.randomUUID() },
    settings(port, more),
    { settleMs },
  )
const placeOf = (message: string) => Number(/ chain="(\d+)"/.exec(message)?.[1])
const rowsOf = (messages: readonly string[]) => messages.filter((one) => one.includes(' audit ['))

async function until(work: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000
  while (!(await work())) {
    if (Date.now() > end) throw new Error('it did not come to that')
    await sleep(20)
  }
}

test('each row once and in order, with what an auditor needs to check the chain from the messages alone', async () => {
  await givenLog(api.ctx)
  await using server = await startReceiver(receiver)
  await using stream = newStream(server.port)
  await until(async () => {
    await stream.step()
    return server.messages.length >= 12
  })
  const rows = rowsOf(server.messages)
  expect(rows.map(placeOf)).toEqual(Array.from({ length: 11 }, (_, n) => n + 1))
  let hash: Buffer = chainStart
  for (const message of rows) {
    const [, head = '', text = ''] =
      /^(<\d+>1 \S+ \S+ fleetseal - audit) \[[^\]]*\] (.*)$/s.exec(message) ?? []
    expect(head).toMatch(
      /^<109>1 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z localhost fleetseal - audit$/,
    )
    hash = chainHash(hash, text)
    expect(message).toContain(` hash="${hash.toString('hex')}"`)
  }
  const [checkpoint = ''] = server.messages.filter((one) => one.includes(' checkpoint ['))
  expect(checkpoint).toContain('chain="9"')
})

test('what a device or a person named cannot break out of its place, and what is too long is cut', async () => {
  const nasty = 'a"] \\ <0>1 \n[x y="z"] é'
  await inTransaction(handle.db, (tx) =>
    recordAudits(tx, [
      {
        at: new Date(),
        actor: 'key:1',
        action: 'test.refuse',
        subject: nasty,
        facts: { long: 'ü'.repeat(9_000) },
      },
    ]),
  )
  await sealBatch(handle)
  await using server = await startReceiver(receiver)
  await using stream = newStream(server.port)
  await until(async () => {
    await stream.step()
    return server.messages.length >= 2
  })
  const [, message = ''] = server.messages
  expect(message).toMatch(/^<108>1 /)
  expect(message).toContain(String.raw`subject="a\"\] \\ <0>1  [x y=\"z\"\] é"`)
  expect(message).toContain(' truncated="1"]')
  expect(Buffer.byteLength(message)).toBeLessThanOrEqual(8_192)
  expect(message).not.toContain('�')
})

test('a receiver that is down is waited for, and one that breaks off gets again what it may not have had', async () => {
  await givenRows(handle, 300)
  const port = await freePort()
  const stream = newStream(port, {}, 60_000)
  expect(await stream.step()).toBe(false)
  expect((await findStream(handle.db, syslogStream))?.failure).toContain('ECONNREFUSED')
  const seen: string[] = []
  await using server = await startReceiver(receiver, { port })
  await until(async () => {
    await stream.step()
    return rowsOf(server.messages).length >= 301
  })
  // It had them, and nobody can know.
  server.breakOff()
  seen.push(...server.messages.splice(0))
  await givenRows(handle, 20, { from: 301 })
  await until(async () => {
    await stream.step()
    return rowsOf(server.messages).length >= 321
  })
  seen.push(...server.messages)
  await stream[Symbol.asyncDispose]()
  expect(new Set(rowsOf(seen).map(placeOf)).size).toBe(321)
  expect(rowsOf(server.messages).map(placeOf)).toEqual(Array.from({ length: 321 }, (_, n) => n + 1))
  // Ended in order: the next process goes on behind it.
  expect((await findStream(handle.db, syslogStream))?.chain_no).toBe(321)
  await givenRows(handle, 1, { from: 400 })
  server.messages.length = 0
  await using next = newStream(server.port)
  await until(async () => {
    await next.step()
    return server.messages.length > 0
  })
  expect(rowsOf(server.messages).map(placeOf)).toEqual([322])
}, 120_000)

test('of two processes one sends; when it is gone the other goes on', async () => {
  await givenRows(handle, 5)
  await using server = await startReceiver(receiver)
  const first = newStream(server.port)
  await using second = newStream(server.port)
  await until(async () => {
    await first.step()
    await second.step()
    return server.messages.length >= 6
  })
  expect(server.connections()).toBe(1)
  await first[Symbol.asyncDispose]()
  await givenRows(handle, 5, { from: 6 })
  await until(async () => {
    await second.step()
    return server.messages.length >= 11
  })
  expect(rowsOf(server.messages).map(placeOf)).toEqual(Array.from({ length: 11 }, (_, n) => n + 1))
})

test('a receiver of another authority gets nothing; one that asks for our certificate gets it', async () => {
  const other = selfSigned(folder, 'other')
  {
    await using server = await startReceiver(other)
    await using stream = newStream(server.port)
    expect(await stream.step()).toBe(false)
    expect((await findStream(handle.db, syslogStream))?.failure).toMatch(/self-signed|verify/)
    expect(server.messages).toEqual([])
  }
  await givenRows(handle, 1)
  const client = selfSigned(folder, 'client')
  await using server = await startReceiver(receiver, { clientCa: client.cert })
  await using stream = newStream(server.port, { certFile: client.cert, keyFile: client.key })
  await until(async () => {
    await stream.step()
    return server.messages.length >= 1
  })
})

const ossl = '/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so'
const hasRsyslog = spawnSync('rsyslogd', ['-v']).status === 0 && existsSync(ossl)

test.skipIf(!hasRsyslog)(
  "Debian's rsyslog takes them (packages rsyslog and rsyslog-openssl)",
  async () => {
    await givenLog(api.ctx)
    const port = await freePort()
    const config = join(folder, 'rsyslog.conf')
    const out = join(folder, 'rsyslog.out')
    await writeFile(
      config,
      `global(workDirectory="${folder}" defaultNetstreamDriver="ossl" defaultNetstreamDriverCAFile="${receiver.cert}"
  defaultNetstreamDriverCertFile="${receiver.cert}" defaultNetstreamDriverKeyFile="${receiver.key}" maxMessageSize="16k")
module(load="imtcp" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="anon")
input(type="imtcp" port="${port}" address="127.0.0.1")
template(name="all" type="string" string="%app-name%|%msgid%|%structured-data%|%msg%\\n")
*.* action(type="omfile" file="${out}" template="all")
`,
    )
    const daemon = spawn('rsyslogd', ['-n', '-f', config, '-i', join(folder, 'rsyslog.pid')], {
      stdio: 'ignore',
    })
    const ended = once(daemon, 'exit')
    try {
      await using stream = newStream(port)
      const lines = async () =>
        (await readFile(out, 'utf8').catch(() => ''))
          .split('\n')
          .filter((line) => line.startsWith('fleetseal|'))
      await until(async () => {
        await stream.step()
        return (await lines()).length >= 12
      })
      const rows = (await lines()).filter((line) => line.startsWith('fleetseal|audit|'))
      expect(rows.map(placeOf)).toEqual(Array.from({ length: 11 }, (_, n) => n + 1))
      expect(rows[3]).toContain('"subject-3"')
    } finally {
      daemon.kill('SIGTERM')
      await ended
    }
  },
  120_000,
)
