import { expect, test } from 'vitest'

import { inWords, planOf } from '../../chaos/plan.ts'
import { play } from '../../chaos/play.ts'

/* The short form of `npm run chaos`; `CHAOS_SEEDS=1,2,3` plays others. What is skipped here is said by `npm run chaos`. */
const seeds = (process.env['CHAOS_SEEDS'] ?? '6').split(',').map(Number)

test.each(seeds)(
  'whatever goes wrong, what must hold holds: seed %d',
  async (seed) => {
    const plan = planOf(seed)
    const { broken, facts } = await play(plan)
    expect(broken, inWords(plan)).toEqual([])
    expect(facts).toMatch(/[1-9]\d* events and [1-9]\d* reports acknowledged/)
  },
  600_000,
)
