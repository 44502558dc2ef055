import { expect, test } from 'vitest'

import { DeviceConfig } from '../../../device-sim/config.ts'
import type { ChunkLink, ChunkListener } from '../../../device-sim/update/chunk-transfer.ts'
import { fetchImage } from '../../../device-sim/update/image.ts'
import { blocksOf, frameHeaderBytes, writeDataHeader } from '../../../server/protocol/chunks.ts'
import { makeDelta, noise, sha256Of } from '../../support/delta-fixture.ts'
import { DeviceLife } from '../../support/device-life.ts'
import { losses } from '../../support/memory-disk.ts'
import {
  expectNotLess,
  isFull,
  live,
  liveUntilCut,
  rememberedBy,
} from '../../support/power-loss.ts'
import { policy, World } from '../../support/tuf-fixture.ts'

const old = noise('old', 40_000).toString('hex')
const image = `${old.slice(0, 30_000)}changed${old.slice(30_000)}`

/** The broker's side of chunks, without a network: nothing is lost, and nothing takes time. */
function linkTo(files: readonly Buffer[]): ChunkLink {
  const listeners = new Set<ChunkListener>()
  return {
    isConnected: true,
    ask: (request) => {
      const bytes = files.find((one) => sha256Of(one).startsWith(request.f))
      if (!bytes) throw new Error(`nobody offers ${request.f}`)
      for (const block of blocksOf(request)) {
        const payload = bytes.subarray(block * request.l, (block + 1) * request.l)
        if (payload.length === 0) continue
        const frame = Buffer.concat([Buffer.alloc(frameHeaderBytes), payload])
        const isLast = (block + 1) * request.l >= bytes.length
        writeDataHeader(frame, { file: request.f, block, isLast })
        queueMicrotask(() => listeners.forEach(({ onFrame }) => onFrame(frame)))
      }
    },
    listen: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

/** A device that runs `old` and is offered `image`, as a delta first. */
async function offered({ makesImage }: { makesImage: boolean }): Promise<DeviceLife> {
  const world = new World()
  const path = world.addBuild({ content: image, svn: 42 })
  world.want(path)
  const sizes = { blockBytes: 16_384, windowBytes: 65_536 }
  const [from, to] = [Buffer.from(old), Buffer.from(image)]
  // The wrong one makes another image out of the same base, and says it is this one.
  const made = await makeDelta(
    from,
    makesImage ? to : Buffer.from(image.replace('changed', 'CHANGED')),
    sizes,
  )
  const { bytes, promised } = made
  const entry = {
    m: 'delta-z1',
    length: bytes.length,
    sha256: sha256Of(bytes),
    base: sha256Of(from),
  }
  world.wanted[path]?.custom.delivery.unshift({ ...entry, index: promised.index })
  world.publishDelegations()
  world.publishFirmware()
  world.publishWanted({
    change: (signed) => Object.assign(signed, { 'x-main': 'main', 'x-policy': policy }),
  })
  const life = await DeviceLife.make({ world, images: { main: from } })
  const rules = DeviceConfig.parse({ ...life.config, delivery: 'mqtt' })
  const link = linkTo([bytes, to])
  life.fetch = async (disk, wanted, signal) =>
    await fetchImage({
      disk,
      wanted,
      signal,
      link,
      rules,
      onProgress: () => {},
      server: () => {
        throw new Error('there is no server')
      },
    })
  return life
}

test.each([
  ['that makes the image', true, 0],
  ['that does not, so that the image itself is fetched', false, 1],
])('the plug is pulled at every call of a delta %s', async (_what, makesImage, fallbacks) => {
  const story = await offered({ makesImage })
  const another = () => {
    const life = story.another()
    life.fetch = story.fetch
    return life
  }
  const end = async (life: DeviceLife, where: string) => {
    expect(life.state(), where).toBe('succeeded')
    expect(life.build(), where).toBe(412)
    expect(await life.disk.counters()).toEqual({ main: 42 })
    expect((await life.disk.read('main-b.img', 1_000_000))?.toString(), where).toBe(image)
    expect(await life.disk.size('main-b.part.delta-z1'), where).toBeUndefined()
  }
  const rehearsal = another()
  await live(rehearsal)
  await end(rehearsal, 'without a cut')
  const notes = rehearsal.events.filter(({ kind }) => kind === 'delivery-fallback')
  expect(notes).toHaveLength(fallbacks)
  await rehearsal.powerDown()
  const { calls } = rehearsal.disk
  expect(calls).toBeGreaterThan(50)
  for (let cut = 1; cut <= calls + 1; cut += 1) {
    for (const loss of losses.filter((_loss, n) => isFull || n === cut % losses.length)) {
      const life = another()
      await liveUntilCut(life, cut, loss)
      const before = await rememberedBy(life)
      await live(life)
      expectNotLess(before, await rememberedBy(life))
      await end(life, `call ${cut}, ${loss}`)
      await life.powerDown()
    }
  }
})
