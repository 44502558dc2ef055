import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { FileDisk } from '../../../device-sim/disk.ts'
import { findIdentity } from '../../../device-sim/identity.ts'
import { fingerprint } from '../../../pki/x509/parse.ts'
import { DeviceBench } from '../../support/device-bench.ts'

let bench: DeviceBench

beforeEach(async () => {
  bench = await DeviceBench.open()
})

afterEach(async () => {
  await bench[Symbol.asyncDispose]()
})

async function certificateOf(): Promise<string> {
  const identity = await findIdentity(await FileDisk.existing(bench.dir))
  if (!identity) throw new Error('not enrolled')
  return fingerprint(identity.leaf.der)
}

const plan = async () =>
  JSON.parse(await readFile(join(bench.dir, 'renewal.json'), 'utf8')) as Record<string, string>

test('the agent renews when the server says so, and connects with the new certificate', async () => {
  await bench.enroll()
  const agent = await bench.run()
  await bench.untilState('succeeded')
  let renewals = 0
  agent.on('renewed', () => (renewals += 1))
  const certificate = await certificateOf()
  const hellos = bench.server.hellos.length
  // A hint for another certificate, as after a renewal that crossed it, is not for this one.
  const at = new Date(Date.now() + 500).toISOString()
  bench.server.send('command', { command: 'renew', certificate: '0'.repeat(64), at })
  bench.server.send('command', { command: 'renew', certificate, at })
  await bench.until(() => expect(renewals).toBe(1))
  await bench.until(() => expect(bench.server.hellos.length).toBeGreaterThan(hellos))
  expect(await certificateOf()).not.toBe(certificate)
  await bench.until(async () => expect((await plan())['fingerprint']).toBe(await certificateOf()))
  expect(renewals).toBe(1)
})

test('a hint far away is kept over a restart, and one beyond the end is not believed', async () => {
  await bench.enroll()
  const agent = await bench.run()
  await bench.untilState('succeeded')
  const certificate = await certificateOf()
  const at = new Date(Date.now() + 3_600_000).toISOString()
  bench.server.send('command', { command: 'renew', certificate, at })
  await bench.until(async () => expect(await plan()).toMatchObject({ hintAt: at, renewAt: at }))
  await agent.stop()
  const hellos = bench.server.hellos.length
  await bench.run()
  await bench.until(() => expect(bench.server.hellos.length).toBeGreaterThan(hellos))
  expect(await plan()).toEqual({ fingerprint: certificate, hintAt: at, renewAt: at })
  const never = '2090-01-01T00:00:00.000Z'
  bench.server.send('command', { command: 'renew', certificate, at: never })
  await bench.until(async () => expect(await plan()).toMatchObject({ hintAt: never }))
  const identity = await findIdentity(await FileDisk.existing(bench.dir))
  const end = identity?.leaf.notAfter.getTime() ?? 0
  expect(Date.parse((await plan())['renewAt'] ?? '')).toBeLessThan(end)
})
