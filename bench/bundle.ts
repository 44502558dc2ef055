import { constants, deflateRawSync, zstdCompressSync } from 'node:zlib'

import { connectPostgres } from '../server/db/client.ts'
import { migrateToLatest } from '../server/db/migrate.ts'
import { ReleaseWorld } from '../test/support/release-world.ts'
import type { Bench, Env } from './bench.ts'
import { figure, type Row } from './row.ts'

export const benchBundle: Bench = {
  name: 'bundle',
  title: 'The metadata of one update',
  budgets: ['bundle-raw', 'bundle-compressed'],
  run,
}

const nonce = '3acbfb9006873f983fc4e78a5cbeb303'

/**
 * What a device that holds nothing but the first roots is sent for an update: the payload of the one MQTT message, byte by byte, and what
 * it would have compressed. Ed25519; a delegation for its model.
 */
async function run({ database, say }: Env): Promise<Row[]> {
  await using stack = new AsyncDisposableStack()
  const { url } = await database()
  const handle = stack.use(connectPostgres(url))
  await migrateToLatest(handle)
  say('a release and a device')
  const world = stack.use(await ReleaseWorld.ready(handle))
  const release = await world.publishRelease()
  const device = await world.device()
  await world.deploy(device.id, release)
  const bundle = await device.ask(nonce)
  if (!bundle) throw new Error('The device was offered nothing')
  const payload = Buffer.from(JSON.stringify(bundle))
  const small = Math.min(
    deflateRawSync(payload, { level: 9 }).length,
    zstdCompressSync(payload, { params: { [constants.ZSTD_c_compressionLevel]: 19 } }).length,
  )
  const kB = (bytes: number) => ({ values: [bytes / 1_000], unit: 'kB' })
  return [
    figure('one MQTT message with all of it', { ...kB(payload.length), budget: 'bundle-raw' }),
    figure('the same compressed', { ...kB(small), budget: 'bundle-compressed' }),
  ]
}
