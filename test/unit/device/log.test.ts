import { createHash } from 'node:crypto'

import { describe, expect, test } from 'vitest'

import { deviceEntry, fileEntry } from '../../../pki/tuf/log-entry.ts'
import { DeviceLife, offering } from '../../support/device-life.ts'
import { Log } from '../../support/merkle-log.ts'
import type { World } from '../../support/tuf-fixture.ts'
import { makeKeys } from '../../support/tuf-repository.ts'

const hashOf = (text: string) => createHash('sha256').update(text).digest('hex')
const noise = (count: number, name = 'other') =>
  Array.from({ length: count }, (_, n) => deviceEntry(hashOf(`${name} ${n}`)))

/** The entries of what a world has published for the device. */
function entriesOf({ director, image }: World): { own: Buffer; files: Buffer[] } {
  const files = ['targets', 'fw-gate-2'].flatMap((role) => {
    const file = image.files.get(role)
    if (!file) return []
    const { version, text } = file
    return [fileEntry({ repository: 'image', role, version, sha256: hashOf(text) })]
  })
  return { own: deviceEntry(hashOf(director.files.get('targets')?.text ?? '')), files }
}

/** A server that logs all it publishes, behind `before` other entries. */
function honest(life: DeviceLife, before: () => Buffer[]) {
  life.log = ({ log }) => {
    const { own, files } = entriesOf(life.world)
    return new Log([...before(), own, ...files]).answer([own, ...files], log?.size)
  }
}

async function make(): Promise<DeviceLife> {
  const life = await DeviceLife.make()
  await life.powerUp()
  return life
}

/** A device that has seen a log of `before` entries and nothing to install. */
async function seen(before: Buffer[]): Promise<{ life: DeviceLife; history: Buffer[] }> {
  const life = await make()
  const { wanted } = life.world
  life.world.wanted = {}
  life.world.publishWanted()
  const first = entriesOf(life.world).own
  life.log = () => new Log([...before, first]).answer([first])
  await life.day()
  expect(life.updater.device.seenLog?.size).toBe(before.length + 1)
  life.world.wanted = wanted
  life.world.publishWanted()
  return { life, history: [...before, first] }
}

const refusals = (life: DeviceLife) => life.events.map(({ detail }) => detail)

describe('a device that is shown a transparency log', () => {
  test('installs what is in it, remembers its head, and needs no proof twice', async () => {
    const life = await make()
    honest(life, () => noise(5))
    await life.day()
    expect(life.state()).toBe('succeeded')
    expect(life.updater.device.have().log).toMatchObject({ size: 8 })
    life.log = () => ({})
    await life.day()
    expect(refusals(life)).toEqual([])
    await life.powerDown()
    await life.powerUp()
    expect(life.updater.device.seenLog?.size).toBe(8)
  })

  test('refuses a targets file that is not in it, and takes it once it is', async () => {
    const life = await make()
    life.log = () => new Log(noise(5)).answer(noise(5))
    await life.day()
    expect(refusals(life)).toEqual(['log: A file is not in the transparency log'])
    expect(life.state()).toBeUndefined()
    honest(life, () => noise(5))
    await life.day()
    expect(life.state()).toBe('succeeded')
  })

  test('refuses a secret build: its file of the image repository was shown to nobody else', async () => {
    const life = await make()
    life.log = () => {
      const { own, files } = entriesOf(life.world)
      return new Log([own, ...files.slice(0, 1)]).answer([own, ...files])
    }
    await life.day()
    expect(refusals(life)).toEqual(['log: A file is not in the transparency log'])
    expect(life.state()).toBeUndefined()
  })

  test('refuses a proof of another file, of another place, or under another root', async () => {
    for (const spoil of ['leaf', 'place', 'root'] as const) {
      const life = await make()
      life.log = () => {
        const { own, files } = entriesOf(life.world)
        const answer = new Log([...noise(3), own, ...files]).answer([own, ...files])
        const { included } = answer.proofs
        for (const [leaf, proof] of Object.entries(included)) {
          if (spoil === 'place') included[leaf] = { ...proof, no: proof.no + 1 }
          if (spoil === 'leaf') included[leaf] = Object.values(included)[0] ?? proof
        }
        if (spoil === 'root') answer.head.root = hashOf('another')
        return answer
      }
      await life.day()
      expect(refusals(life), spoil).toEqual(['log: A file is not in the transparency log'])
    }
  })
})

describe('a device that has seen the log', () => {
  test('follows it as it grows', async () => {
    const { life, history } = await seen(noise(20))
    honest(life, () => [...history, ...noise(30, 'more')])
    await life.day()
    expect(life.state()).toBe('succeeded')
    expect(life.updater.device.seenLog?.size).toBe(54)
  })

  test('refuses a fork: a log that says something else about the past', async () => {
    const { life, history } = await seen(noise(20))
    honest(life, () => [...noise(21, 'forged'), ...noise(30, 'more')])
    await life.day()
    expect(refusals(life)).toEqual([
      'log: The transparency log of 54 is not the one of 21 continued',
    ])
    expect(life.state()).toBeUndefined()
    honest(life, () => [...history, ...noise(30, 'more')])
    await life.day()
    expect(life.state()).toBe('succeeded')
  })

  test('refuses one that shrank, and one of the same size with another root', async () => {
    const { life: shrunk } = await seen(noise(20))
    honest(shrunk, () => noise(4))
    await shrunk.day()
    expect(refusals(shrunk)).toEqual(['log: The transparency log shrank from 21 to 7'])
    const { life: other } = await seen(noise(20))
    honest(other, () => noise(18))
    await other.day()
    expect(refusals(other)).toEqual([
      'log: The transparency log of 21 is not the one of 21 continued',
    ])
  })

  test('does not do without it any more', async () => {
    const { life } = await seen(noise(20))
    life.log = () => ({})
    await life.day()
    expect(refusals(life)).toEqual(['log: The head of the transparency log is left out'])
    expect(life.state()).toBeUndefined()
  })

  test('begins anew with a director root that replaces the timestamp key', async () => {
    const { life } = await seen(noise(20))
    life.world.director.keys.timestamp = makeKeys(1)
    life.world.director.publishRoot()
    life.world.publishWanted()
    honest(life, () => noise(2))
    await life.day()
    expect(refusals(life)).toEqual([])
    expect(life.state()).toBe('succeeded')
    expect(life.updater.device.seenLog?.size).toBe(5)
  })
})

test('a device that never saw a log does without', async () => {
  const life = await DeviceLife.make({ world: offering() })
  await life.powerUp()
  await life.day()
  expect(life.state()).toBe('succeeded')
  expect(life.updater.device.have().log).toEqual({ size: 0, proven: [] })
})
