import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { FileDisk } from '../device-sim/disk.ts'
import { findIdentity } from '../device-sim/identity.ts'
import { createAgents } from '../test/support/agents.ts'
import { openSite, publishRelease, startRollout } from '../test/support/operator.ts'
import { freePort } from '../test/support/postgres.ts'
import { type RunningServer, startServer } from '../test/support/server.ts'
import type { Bench, Env } from './bench.ts'
import { cpuOf, familyOf, residentBytes } from './cpu.ts'
import { createPeerPki, listening, type PeerPki, peerOf } from './peer-servers.ts'
import { beside, figure, missing, type Row } from './row.ts'

const slowEach = 8
/** Downloads before one from memory counts. */
const warming = 3

export const benchBytes: Bench = {
  name: 'bytes',
  title: 'Bytes of an image',
  budgets: ['bytes-cold', 'bytes-hot', 'bytes-in-flight'],
  run,
}

/** Whoever downloads: curl, with a device's certificate. */
interface Source {
  pid: () => number
  /** Takes from the server what it keeps in its own memory. */
  forget: () => Promise<void>
  url: string
  /** Of curl. */
  credentials: readonly string[]
  /** What has to leave the memory of the system before it is cold. */
  file: string
}

/**
 * One image over TLS 1.3 with client certificates, to curl, beside nginx (broker.md G8): megabytes for each second of the server's CPU, from the
 * disk and from memory. Then readers that take a kilobyte a second, and what they make the server hold.
 */
async function run(env: Env): Promise<Row[]> {
  const nginx = env.peer('nginx')
  if (nginx === undefined)
    return benchBytes.budgets.map((key) => missing(key, key, 'nginx is not installed'))
  if (spawnSync('curl', ['--version']).status !== 0)
    return benchBytes.budgets.map((key) => missing(key, key, 'curl is not installed'))
  await using stack = new AsyncDisposableStack()
  const image = randomBytes(env.pick(128, 64, 2) * 1_000_000)
  const database = await env.database()
  const server = stack.use(
    await startServer({
      DATABASE_URL: database.url,
      FLEETSEAL_LOG_LEVEL: 'warn',
      // A broker process has none of the background work that is not its own.
      FLEETSEAL_BROKERS: '1',
    }),
  )
  const devices = env.pick(4, 2, 1)
  const ours = await offered(server, image, devices)
  env.say(`an image of ${image.length / 1e6} MB is offered`)
  const pki = stack.use(await createPeerPki(1))
  const peer = await startNginx(stack, nginx, pki, image)
  const rates = {
    hot: { ours: [] as number[], peer: [] as number[] },
    cold: { ours: [] as number[], peer: [] as number[] },
  }
  for (let round = 0; round <= env.rounds; round++) {
    env.say(`round ${round}`)
    for (const kind of ['cold', 'hot'] as const) {
      const one = await rate(ours[0], image.length, kind === 'cold')
      const other = await rate(peer, image.length, kind === 'cold')
      if (round === 0) continue
      rates[kind].ours.push(one)
      rates[kind].peer.push(other)
    }
  }
  const held = await slowReaders(env, ours)
  const row = (what: string, kind: 'hot' | 'cold', budget: 'bytes-hot' | 'bytes-cold') =>
    beside(what, { ...rates[kind], name: 'nginx', unit: 'MB/CPU-s', digits: 0, budget })
  return [
    row('an image from the disk', 'cold', 'bytes-cold'),
    row('… from memory', 'hot', 'bytes-hot'),
    figure(`held for ${devices * slowEach} slow readers`, {
      values: [held],
      unit: 'MB',
      digits: 1,
      budget: 'bytes-in-flight',
    }),
  ]
}

async function rate(
  { pid, forget, url, credentials, file }: Source,
  bytes: number,
  isCold: boolean,
): Promise<number> {
  // The system is told that nobody needs its copy.
  if (isCold) spawnSync('dd', [`if=${file}`, 'iflag=nocache', 'count=0'])
  const download = async () => {
    const child = spawn('curl', [
      ...credentials,
      '--silent',
      '--fail',
      '--output',
      '/dev/null',
      url,
    ])
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`curl ended with ${code} at ${url}`)
  }
  if (isCold) await forget()
  // What is downloaded often is what is kept in memory.
  else for (let n = 0; n < warming; n++) await download()
  const ms = await cpuOf(pid(), download)
  return bytes / 1e6 / (ms / 1_000)
}

/** Megabytes by which the server grows while they read, each all of its connections. */
async function slowReaders(env: Env, sources: readonly Source[]): Promise<number> {
  const pid = sources[0]?.pid() ?? 0
  const before = residentBytes(pid)
  const readers: ChildProcess[] = sources.flatMap(({ url, credentials }) =>
    Array.from({ length: slowEach }, () =>
      spawn('curl', [
        ...credentials,
        '--silent',
        '--limit-rate',
        '1k',
        '--output',
        '/dev/null',
        url,
      ]),
    ),
  )
  let most = before
  for (let turn = 0; turn < env.pick(50, 20, 5); turn++) {
    most = Math.max(most, residentBytes(pid))
    await sleep(100)
  }
  const exits = readers.map((reader) => once(reader, 'exit'))
  for (const reader of readers) reader.kill()
  await Promise.all(exits)
  return (most - before) / 1e6
}

/** Devices that were offered the image and do not take it by themselves, so that it stays theirs to download. */
async function offered(
  server: RunningServer,
  image: Buffer,
  count: number,
): Promise<[Source, ...Source[]]> {
  const site = await openSite(server)
  await using agents = createAgents(server, site)
  for (let n = 0; n < count; n++) await agents.powerUp(`BYTES-${n}`)
  const have = agents.all.map(async (agent) => {
    const { promise, resolve } = Promise.withResolvers<void>()
    agent.on('state', ({ state }) => state === 'offered' && resolve())
    return await promise
  })
  const release = {
    version: '2.0.0',
    build: 200,
    image,
    class: 'feature' as const,
    metadataVersion: 1,
  }
  await startRollout(site, await publishRelease(site, release))
  await Promise.all(have)
  const sha256 = createHash('sha256').update(image).digest('hex')
  const file = join(server.dataDir, 'artifacts', sha256.slice(0, 2), sha256.slice(2, 4), sha256)
  const sources = agents.all.map(async (_, n): Promise<Source> => {
    const dir = join(server.dataDir, '..', 'devices', `BYTES-${n}`)
    const identity = await findIdentity(await FileDisk.existing(dir))
    if (!identity) throw new Error('No identity after enrollment')
    await writeFile(join(dir, 'bench.crt'), identity.certificates)
    await writeFile(join(dir, 'bench.key'), identity.key, { mode: 0o600 })
    return {
      pid: () => familyOf(server.pid())[1] ?? 0,
      forget: async () => {
        await server.stop()
        await server.restart()
        // It is warm, as the peer is, but for this image.
        await sleep(2_000)
      },
      url: `https://localhost:${server.ports.device}/artifacts/${sha256}`,
      credentials: [
        '--cacert',
        server.ca,
        '--cert',
        join(dir, 'bench.crt'),
        '--key',
        join(dir, 'bench.key'),
      ],
      file,
    }
  })
  const [first, ...others] = await Promise.all(sources)
  if (!first) throw new Error('No device')
  return [first, ...others]
}

async function startNginx(
  stack: AsyncDisposableStack,
  program: string,
  pki: PeerPki,
  image: Buffer,
): Promise<Source> {
  const { folder } = pki
  const port = await freePort()
  const root = join(folder, 'www')
  await mkdir(root)
  await writeFile(join(root, 'image.bin'), image)
  const [credential] = pki.credentials
  await writeFile(join(folder, 'client.crt'), credential?.cert ?? '')
  await writeFile(join(folder, 'client.key'), credential?.key ?? '')
  await writeFile(join(folder, 'root.pem'), pki.ca)
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    .map((name) => `${name}_temp_path ${folder}/${name};`)
    .join(' ')
  await writeFile(
    join(folder, 'nginx.conf'),
    `daemon off; master_process off; worker_processes 1; pid ${folder}/nginx.pid; error_log stderr crit; user root;
events { worker_connections 1024; }
http { access_log off; sendfile on; output_buffers 2 128k; ${temporary}
  server { listen 127.0.0.1:${port} ssl; root ${root}; ssl_protocols TLSv1.3; ssl_session_tickets off;
    ssl_certificate ${folder}/server.pem; ssl_certificate_key ${folder}/server.key;
    ssl_client_certificate ${folder}/ca.pem; ssl_verify_client on; ssl_verify_depth 3; } }
`,
  )
  const child = spawn(program, ['-p', folder, '-c', join(folder, 'nginx.conf')], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
  await listening(child, port)
  const { pid } = stack.use(peerOf(child, port))
  return {
    pid: () => pid,
    forget: async () => {},
    url: `https://localhost:${port}/image.bin`,
    credentials: [
      '--cacert',
      join(folder, 'root.pem'),
      '--cert',
      join(folder, 'client.crt'),
      '--key',
      join(folder, 'client.key'),
    ],
    file: join(root, 'image.bin'),
  }
}
