import { parseArgs } from 'node:util'

import { type FaultKind, faultKinds, inWords, planOf } from './plan.ts'
import { play } from './play.ts'

/*
 * `npm run chaos -- --seeds 1-50`: real servers, a real database and real devices, and everything that goes wrong. Ends with 1 when
 * something that must always hold did not; the seed is named then, and plays the same faults at the same moments again.
 */

const usage = `npm run chaos [-- --seeds 1-50 --only KIND,KIND --minutes N --keep FOLDER]

  --seeds 1-50     which; one number is one seed (1-5)
  --only KINDS     nothing but these faults: ${faultKinds.join(', ')}
  --minutes N      begins no seed after so many minutes (120)
  --keep FOLDER    where the logs and the history of a seed that failed are put
`

function readOptions(args: string[]) {
  const { values } = parseArgs({
    args,
    options: {
      seeds: { type: 'string', default: '1-5' },
      only: { type: 'string' },
      minutes: { type: 'string', default: '120' },
      keep: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) throw new Error('')
  const found = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(values.seeds)
  const first = Number(found?.[1])
  const last = Number(found?.[2] ?? first)
  if (!found || last < first || last - first >= 10_000) throw new Error('--seeds takes 7 or 1-50')
  const minutes = Number(values.minutes)
  if (!(minutes > 0 && minutes <= 1_440)) throw new Error('--minutes takes a number from 1 to 1440')
  return { first, last, minutes, only: kindsIn(values.only), keep: values.keep }
}

function kindsIn(text: string | undefined): readonly FaultKind[] | undefined {
  return text?.split(',').map((name) => {
    const kind = faultKinds.find((one) => one === name)
    if (kind) return kind
    throw new Error(`there is no fault ${name}; there are ${faultKinds.join(', ')}`)
  })
}

async function chaos({
  first,
  last,
  minutes,
  only,
  keep,
}: ReturnType<typeof readOptions>): Promise<number> {
  const endMs = performance.now() + minutes * 60_000
  const failed: number[] = []
  const skipped = new Set<string>()
  let played = 0
  for (let seed = first; seed <= last && performance.now() < endMs; seed++) {
    const plan = planOf(seed, only)
    console.log(`seed ${seed}  ${inWords(plan)}`)
    const result = await play(plan, { keep })
    played++
    for (const what of result.skipped) skipped.add(what)
    const verdict = result.broken.length === 0 ? 'holds' : 'BROKEN'
    console.log(`seed ${seed}  ${verdict} in ${result.seconds.toFixed(0)} s: ${result.facts}`)
    for (const what of result.broken) console.log(`  ${what}`)
    if (result.broken.length > 0) {
      failed.push(seed)
      const kinds = only ? ` --only ${only.join(',')}` : ''
      console.log(`  again: npm run chaos -- --seeds ${seed}${kinds} --keep FOLDER`)
    }
  }
  for (const what of skipped) console.log(`skipped: ${what}`)
  const missing = last - first + 1 - played
  console.log(
    `${played - failed.length} of ${played} seeds hold${failed.length > 0 ? `; broken: ${failed.join(', ')}` : ''}` +
      `${missing > 0 ? `; ${missing} were not played, the time was over` : ''}`,
  )
  return failed.length === 0 && missing === 0 ? 0 : 1
}

try {
  process.exitCode = await chaos(readOptions(process.argv.slice(2)))
} catch (error) {
  const message = error instanceof Error ? error.message : String(error)
  console.error(message === '' ? usage : error)
  process.exitCode = message === '' ? 0 : 2
}
process.exit()
