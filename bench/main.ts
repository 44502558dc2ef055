import { cpus } from 'node:os'

import { benchConnect } from './connect.ts'
import { benchDelivery } from './delivery.ts'
import { benchDelta } from './delta.ts'
import { benchPki } from './pki.ts'
import { benchPolls } from './polls.ts'
import { benchRollouts } from './rollouts.ts'
import type { Row } from './row.ts'
import { benchTuf } from './tuf.ts'

/* `npm run bench`, or `npm run bench -- pki`: everything that is measured, in one run on one machine, as a table. */

const benches: Readonly<Record<string, (say: (line: string) => void) => Promise<Row[]>>> = {
  pki: benchPki,
  connect: benchConnect,
  delta: benchDelta,
  delivery: benchDelivery,
  polls: benchPolls,
  tuf: benchTuf,
  rollouts: benchRollouts,
}

function print(title: string, rows: readonly Row[]): void {
  const width = Math.max(...rows.map(({ what }) => what.length))
  console.log(`\n${title}`)
  for (const { what, figure, target, met } of rows) {
    const verdict = met === undefined ? '' : met ? 'met' : 'not met'
    console.log(`${what.padEnd(width)}  ${figure.padStart(24)}  ${target.padEnd(12)}  ${verdict}`)
  }
}

const wanted = process.argv.slice(2)
const unknown = wanted.filter((name) => !Object.hasOwn(benches, name))
if (unknown.length > 0) {
  console.error(
    `There is no measurement ${unknown.join(', ')}; there are ${Object.keys(benches).join(', ')}`,
  )
  process.exit(2)
}
const [cpu] = cpus()
console.log(`Node ${process.version}, ${cpus().length} × ${cpu?.model ?? 'unknown'}`)
for (const [name, bench] of Object.entries(benches)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  print(name, await bench((line) => console.error(`${name}: ${line}`)))
}
