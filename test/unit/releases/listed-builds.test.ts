import { describe, expect, test } from 'vitest'

import type { ImageTarget } from '../../../pki/tuf/types.ts'
import { listedBuilds } from '../../../server/releases/listed-builds.ts'
import type { ReleaseFate } from '../../../server/releases/store.ts'

interface Given {
  build: number
  minPrev?: number
  state?: ReleaseFate['state']
  rolling?: boolean
  component?: string
}

function publishedOf(given: Given[]) {
  const targets: Record<string, ImageTarget> = {}
  const fates: ReleaseFate[] = []
  for (const {
    build,
    minPrev,
    component = 'main',
    state = 'published',
    rolling = false,
  } of given) {
    const version = `${build}`
    targets[`fw/gate-2/${version}/${component}.bin`] = {
      length: build,
      hashes: { sha256: 'a'.repeat(64) },
      custom: {
        v: 1,
        match: {
          kind: 'firmware',
          model: 'gate-2',
          hardwareIds: ['gate-2-r3'],
          class: 'feature',
          svn: 0,
          version,
          build,
          ...(minPrev === undefined ? {} : { minPrev }),
        },
      },
    }
    fates.push({ component, version, build, state, rolling })
  }
  return { targets, fates }
}

function kept(given: Given[]): string[] {
  const { targets, fates } = publishedOf(given)
  return Object.keys(listedBuilds(targets, { submitted: [], fates }))
    .map((path) => path.split('/').slice(2).join('/').replace('/main.bin', ''))
    .toSorted()
}

describe('what a model file goes on listing', () => {
  test('the current and the previous build', () => {
    expect(kept([{ build: 1 }, { build: 2 }, { build: 3 }])).toEqual(['2', '3'])
  })

  test('the steps that these demand, and their steps', () => {
    const given = [
      { build: 1 },
      { build: 2, minPrev: 1 },
      { build: 3, minPrev: 2 },
      { build: 4, minPrev: 3 },
      { build: 5, minPrev: 4 },
    ]
    expect(kept(given)).toEqual(['1', '2', '3', '4', '5'])
    expect(kept(given.map(({ build }) => ({ build })))).toEqual(['4', '5'])
  })

  test('of several possible steps the newest', () => {
    expect(
      kept([{ build: 1 }, { build: 2 }, { build: 3 }, { build: 4 }, { build: 5, minPrev: 1 }]),
    ).toEqual(['4', '5'])
  })

  test('nothing that was withdrawn, also when it is the newest or a step', () => {
    expect(kept([{ build: 1 }, { build: 2 }, { build: 3, state: 'withdrawn' }])).toEqual(['1', '2'])
  })

  test('what a rollout still gives out', () => {
    expect(kept([{ build: 1, rolling: true }, { build: 2 }, { build: 3 }, { build: 4 }])).toEqual([
      '1',
      '3',
      '4',
    ])
  })

  test('each component for itself', () => {
    const radio = [{ build: 1, component: 'radio' }]
    expect(kept([...radio, { build: 7 }, { build: 8 }, { build: 9 }])).toEqual([
      '1/radio.bin',
      '8',
      '9',
    ])
  })

  test('with the very entries that were published', () => {
    const { targets, fates } = publishedOf([{ build: 1 }, { build: 2, minPrev: 1 }])
    expect(listedBuilds(targets, { submitted: [], fates })).toEqual(targets)
  })
})
