import { mkdir, stat } from 'node:fs/promises'
import { join } from 'node:path'

import { afterEach, beforeEach, describe, expect, test } from 'vitest'

import { FileDisk } from '../../../device-sim/disk.ts'
import { enrollDevice, renewIdentity } from '../../../device-sim/enroll.ts'
import { findIdentity } from '../../../device-sim/identity.ts'
import { DeviceBench } from '../../support/device-bench.ts'
import { DeviceServer } from '../../support/device-server.ts'
import { deviceId, World } from '../../support/tuf-fixture.ts'

let bench: DeviceBench

beforeEach(async () => {
  bench = await DeviceBench.open()
})

afterEach(async () => {
  await bench[Symbol.asyncDispose]()
})

describe('enrollment', () => {
  test('keeps the key with mode 0600 in a directory of mode 0700', async () => {
    await bench.enroll()
    expect((await stat(join(bench.dir, 'identity.pem'))).mode & 0o777).toBe(0o600)
    expect((await stat(bench.dir)).mode & 0o777).toBe(0o700)
  })

  test('sends the same request again after a failure', async () => {
    bench.server.estStatus = 503
    await expect(bench.enroll()).rejects.toMatchObject({ code: 'pending' })
    bench.server.estStatus = 401
    await expect(bench.enroll()).rejects.toMatchObject({
      code: 'est',
      next: expect.stringContaining('token'),
    })
    bench.server.estStatus = 200
    expect(await bench.enroll()).toBe(deviceId)
    expect(new Set(bench.server.csrs).size).toBe(1)
    expect(bench.server.csrs).toHaveLength(3)
  })

  test('of a device that has its certificate is refused, and changes nothing', async () => {
    await bench.enroll()
    await expect(bench.enroll()).rejects.toMatchObject({ code: 'already-enrolled' })
    expect(bench.server.csrs).toHaveLength(1)
  })

  test('at a server of another root is refused before the token is sent', async () => {
    await using other = await DeviceServer.start(new World())
    const enrollment = { ...bench.enrollment(), root: other.rootPem }
    await expect(enrollDevice(enrollment)).rejects.toMatchObject({ code: 'offline' })
    expect(bench.server.requests).toEqual([])
  })

  test('into a directory that others can enter is refused', async () => {
    await mkdir(bench.dir, { mode: 0o755 })
    await expect(bench.enroll()).rejects.toMatchObject({ next: `Run: chmod 700 ${bench.dir}` })
  })

  test('names every mistake of the configuration', async () => {
    const wrong = bench.enroll({ model: 'Gate 2', hardwareIds: [] })
    await expect(wrong).rejects.toThrow(/model.*hardwareIds/)
  })

  test('with evaluation roots needs a yes to them, and asks before the token is sent', async () => {
    const { image, director } = new World({ evaluation: true })
    const [imageRoot = '', directorRoot = ''] = [...image.roots, ...director.roots]
    const trial = (allowEvaluation: boolean) => ({
      ...bench.enrollment({ allowEvaluation }),
      imageRoot,
      directorRoot,
    })
    await expect(enrollDevice(trial(false))).rejects.toMatchObject({
      code: 'config',
      message: expect.stringContaining('evaluation'),
      next: expect.stringContaining('--allow-evaluation'),
    })
    const mixed = { ...trial(true), directorRoot: bench.enrollment().directorRoot }
    await expect(enrollDevice(mixed)).rejects.toMatchObject({ code: 'config' })
    const broken = { ...trial(true), imageRoot: '{}' }
    await expect(enrollDevice(broken)).rejects.toThrow('--image-root is not a root')
    expect(bench.server.requests).toEqual([])
    expect(await enrollDevice(trial(true))).toBe(deviceId)
  })

  test('is needed before an agent starts', async () => {
    await expect(bench.run()).rejects.toMatchObject({ code: 'not-enrolled' })
  })
})

test('a renewal makes a new key, keeps the names and is taken up', async () => {
  await bench.enroll()
  const disk = await FileDisk.existing(bench.dir)
  const identity = await findIdentity(disk)
  if (!identity) throw new Error('not enrolled')
  const server = { host: 'localhost', port: bench.server.ports.devicePort }
  const { identity: renewed } = await renewIdentity(disk, { identity, server, at: new Date() })
  expect(renewed.deviceId).toBe(deviceId)
  expect(renewed.leaf.spki.equals(identity.leaf.spki)).toBe(false)
  await bench.run()
  await bench.untilState('succeeded')
})
