import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'

import { sql } from 'kysely'

import { connectPostgres } from '../server/db/client.ts'
import { migrateToLatest } from '../server/db/migrate.ts'
import { playModel, playReal, type Played } from '../test/support/fleet/play.ts'
import { startPostgres } from '../test/support/postgres.ts'
import { rolloutWorld } from '../test/support/rollout-world.ts'

/*
 * `npm run simulate -- --devices 100000 --seeds 1-100`: fleets in virtual time against the engine's decisions, or with
 * `--engine real` against all of it and a real PostgreSQL. Ends with 1 when a seed fails, which is then named and can be played
 * again by itself.
 */

const { values } = parseArgs({
  options: {
    devices: { type: 'string', default: '10000' },
    seeds: { type: 'string', default: '1' },
    image: { type: 'string', default: 'both' },
    engine: { type: 'string', default: 'model' },
    hours: { type: 'boolean', default: false },
  },
})
const devices = Number(values.devices)
const [first = 1, last = first] = values.seeds.split('-').map(Number)
const images = values.image === 'both' ? (['good', 'failing'] as const) : [values.image]
if (![devices, first, last].every((n) => Number.isSafeInteger(n) && n > 0) || devices > 1_000_000) {
  console.error('--devices N (at most 1000000), --seeds FIRST-LAST, --image good|failing|both')
  process.exit(2)
}

await using stack = new AsyncDisposableStack()
const postgres = values.engine === 'real' ? await startPostgres() : undefined
stack.defer(() => postgres?.stop())
const failed: string[] = []
console.log(`Node ${process.version}, ${availableParallelism()} processors, ${devices} devices`)
for (let seed = first; seed <= last; seed++) {
  for (const image of images) {
    if (image !== 'good' && image !== 'failing') throw new Error(`there is no image ${image}`)
    const played = await playOne(seed, image)
    console.log(lineOf(played))
    for (const what of played.broken) console.log(`  ${what}`)
    if (played.broken.length > 0) failed.push(`${image} ${seed}`)
  }
}
const count = (last - first + 1) * images.length
console.log(
  `${count - failed.length} of ${count} passed${failed.length > 0 ? `; failed: ${failed.join(', ')}` : ''}`,
)
process.exitCode = failed.length > 0 ? 1 : 0

/** With `--engine real` each in a database of its own, so that no seed sees what another left. */
async function playOne(seed: number, image: 'good' | 'failing'): Promise<Played> {
  const onHour = values.hours ? (line: string) => console.error(`  ${line}`) : undefined
  const options = { seed, devices, image, onHour }
  if (!postgres) return await playModel(options)
  const name = `fleet_${seed}_${image}`
  await using admin = connectPostgres(postgres.url, { max: 1 })
  await sql.raw(`create database ${name}`).execute(admin.db)
  await using handle = connectPostgres(postgres.url.replace(/\/[^/]*$/, `/${name}`))
  await migrateToLatest(handle)
  return await playReal(rolloutWorld(handle), options)
}

function lineOf({
  seed,
  image,
  state,
  hours,
  admitted,
  reached,
  mostInFlight,
  mostInAMinute,
  seconds,
}: Played): string {
  return [
    `seed ${seed} ${image}:`.padEnd(18),
    `${state} after ${hours.toFixed(1)} h,`,
    `${((admitted * 100) / devices).toFixed(2)} % admitted, ${(reached * 100).toFixed(2)} % of reachable installed,`,
    `at most ${mostInFlight} in flight and ${mostInAMinute} a minute (${seconds.toFixed(0)} s)`,
  ].join(' ')
}
