import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, expect, test } from 'vitest'

import { DeviceBench } from '../../support/device-bench.ts'
import { deviceId, policy } from '../../support/tuf-fixture.ts'

let bench: DeviceBench
let children: ChildProcess[]

beforeEach(async () => {
  bench = await DeviceBench.open()
  children = []
})

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  await bench[Symbol.asyncDispose]()
})

const main = join(import.meta.dirname, '..', '..', '..', 'device-sim', 'main.ts')

function start(...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  return child
}

async function device(...args: string[]): Promise<{ code: number; out: string }> {
  const child = start(...args)
  let out = ''
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (text) => (out += text))
  const [code] = await once(child, 'close')
  return { code: Number(code), out }
}

async function enrollByCommand(delivery: string): Promise<{ code: number; out: string }> {
  const parent = join(bench.dir, '..')
  const { root, imageRoot, directorRoot } = bench.enrollment()
  const files = {
    'root.pem': root,
    'image.json': imageRoot,
    'director.json': directorRoot,
    token: 's\n',
  }
  for (const [name, text] of Object.entries(files)) await writeFile(join(parent, name), text)
  const { devicePort, mqttPort } = bench.server.ports
  const options = {
    dir: bench.dir,
    ca: join(parent, 'root.pem'),
    'image-root': join(parent, 'image.json'),
    'director-root': join(parent, 'director.json'),
    profile: 'plant',
    'token-file': join(parent, 'token'),
    model: 'gate-2',
    'hardware-id': 'gate-2-r3',
    serial: 'SN-7',
    'device-port': `${devicePort}`,
    'mqtt-port': `${mqttPort}`,
    delivery,
  }
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value])
  const components = ['--component', 'main=2.4.0:400:41', '--component', 'radio=1.0.0:205:0']
  return await device('enroll', ...args, ...components)
}

test('a device is enrolled, run, asked and answered for by hand', async () => {
  bench.server.world.publishWanted({
    change: (signed) => {
      Object.assign(signed, { 'x-policy': { ...policy, auto: false, consent: 'download+install' } })
    },
  })
  expect(await enrollByCommand('pigeon')).toMatchObject({ code: 2 })
  expect(await enrollByCommand('mqtt')).toEqual({ code: 0, out: expect.stringContaining(deviceId) })
  const agent = start('run', '--dir', bench.dir)
  await bench.untilState('offered')
  const { out } = await device('status', '--dir', bench.dir)
  for (const text of [
    'is running',
    'Runs main 2.4.0',
    '2.4.1',
    'CVE-2026-1234',
    'FS-2026-017',
    'accept',
  ]) {
    expect(out).toContain(text)
  }
  const far = await device('postpone', '--dir', bench.dir, '--hours', '73')
  expect(far.out).toContain('at most 72 hours at a time')
  const accepted = await device('accept', '--dir', bench.dir)
  expect(accepted.out).toContain('Accepted 2.4.1')
  await bench.untilState('succeeded')
  expect(bench.server.gets.length).toBeGreaterThan(0)
  expect((await device('status', '--dir', bench.dir)).out).toContain('installed and working')
  agent.kill('SIGTERM')
  expect(await once(agent, 'exit')).toEqual([0, null])
  expect((await device('status', '--dir', bench.dir)).out).toContain('is not running')
})

test('an agent that is killed goes on where it was', async () => {
  await bench.enroll()
  let asked = 0
  bench.server.answerArtifact = (request, response) => {
    if (asked++ > 0) return bench.server.honestArtifact(request, response)
    first.kill('SIGKILL')
  }
  const first = start('run', '--dir', bench.dir)
  await once(first, 'exit')
  start('run', '--dir', bench.dir)
  await bench.untilState('succeeded')
})

test('mistakes are said with the next step, and have their own exit codes', async () => {
  expect(await device('dance')).toMatchObject({ code: 2, out: expect.stringContaining('help') })
  expect(await device('enroll', '--dir', bench.dir)).toMatchObject({ code: 2 })
  expect(await device('status')).toMatchObject({ code: 2 })
  const none = await device('status', '--dir', bench.dir)
  expect(none).toMatchObject({ code: 1, out: expect.stringContaining('-- enroll') })
  await bench.enroll()
  const nothing = await device('accept', '--dir', bench.dir)
  expect(nothing).toMatchObject({ code: 1, out: expect.stringContaining('Nothing is offered') })
  const later = await device('opt-out', '--dir', bench.dir)
  expect(later).toMatchObject({ code: 0, out: expect.stringContaining('when the agent runs') })
})
