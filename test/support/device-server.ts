import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo, Server } from 'node:net'
import { createServer as createTls, type TLSSocket } from 'node:tls'

import { Aedes } from 'aedes'

import { certsOnly } from '../../pki/cms/certs-only.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { toPem } from '../../pki/pem.ts'
import { encodeBundle } from '../../pki/tuf/bundle.ts'
import type { Bundle } from '../../pki/tuf/types.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import {
  blocksOf,
  ChunkRequest,
  frameHeaderBytes,
  refusedFrame,
  writeDataHeader,
} from '../../server/protocol/chunks.ts'
import { Choice, DeviceEvent, Hello, Report } from '../../server/protocol/messages.ts'
import { parseTopic, topicOf } from '../../server/protocol/topics.ts'
import {
  type Authority,
  daysFrom,
  deviceInput,
  issue,
  makeIssuer,
  makeRoot,
  serverInput,
} from './pki-fixture.ts'
import { deviceId, type World } from './tuf-fixture.ts'

/** What one download is answered with; the honest server sends the bytes, with ranges. */
export type ArtifactAnswer = (request: IncomingMessage, response: ServerResponse) => void

/**
 * The little of a server that one device needs, with every answer in the hands of the test: EST, artifacts, and a
 * broker that answers `hello` from a `World`.
 */
export class DeviceServer implements AsyncDisposable {
  readonly world: World
  readonly artifacts = new Map<string, Buffer>()
  readonly hellos: Hello[] = []
  readonly reports: Report[] = []
  readonly choices: Choice[] = []
  readonly events: DeviceEvent[] = []
  readonly requests: IncomingMessage[] = []
  readonly csrs: string[] = []
  answerArtifact: ArtifactAnswer | undefined
  /** Changes, or withholds, the bundle that answers a hello. */
  changeBundle: (bundle: Bundle, hello: Hello) => Bundle | undefined = (bundle) => bundle
  /** Whether a `testing` report is answered with a commit. */
  commits = true
  /** Requests for chunks, and what answers them; the honest server sends the blocks. */
  readonly gets: ChunkRequest[] = []
  answerGet: ((request: ChunkRequest) => void) | undefined
  estStatus = 200
  readonly rootPem: string
  readonly #root: Authority
  readonly #issuer: Authority
  readonly #key: { key: string; cert: string }
  #ports = { device: 0, mqtt: 0 }
  #servers: Server[] = []
  readonly #sockets = new Set<TLSSocket>()
  #broker: Aedes | undefined
  #lastBundle: Buffer = Buffer.alloc(0)
  #issued = new Map<string, Buffer>()

  private constructor(
    world: World,
    pki: { root: Authority; issuer: Authority; key: string; cert: string },
  ) {
    this.world = world
    this.#root = pki.root
    this.#issuer = pki.issuer
    this.#key = pki
    this.rootPem = toPem('CERTIFICATE', pki.root.certificate.der)
  }

  static async start(world: World): Promise<DeviceServer> {
    const root = await makeRoot('P-256')
    const issuer = await makeIssuer(root)
    const key = generatePrivateKey('P-256')
    const leaf = await issue('server', issuer, { ...serverInput(issuer, spkiOf(key)), ...recent() })
    const chain = [leaf, issuer.certificate].map(({ der }) => toPem('CERTIFICATE', der)).join('')
    const keyPem = key.export({ format: 'pem', type: 'pkcs8' }).toString()
    const server = new DeviceServer(world, { root, issuer, key: keyPem, cert: chain })
    await server.up()
    return server
  }

  get ports(): { devicePort: number; mqttPort: number } {
    return { devicePort: this.#ports.device, mqttPort: this.#ports.mqtt }
  }

  /** Listens, on the same ports as before when there was a before. */
  async up(): Promise<void> {
    const options = { ...this.#key, ca: this.rootPem, requestCert: true, rejectUnauthorized: false }
    const broker = await Aedes.createBroker()
    broker.authorizePublish = (_client, packet, done) => {
      this.#receive(packet.topic, Buffer.from(packet.payload))
      done(null)
    }
    this.#broker = broker
    const https = createHttps(options, (request, response) => this.#serve(request, response))
    const mqtts = createTls({ ...options, rejectUnauthorized: true }, (socket) => {
      socket.on('error', () => {})
      broker.handle(socket)
    })
    for (const server of [https, mqtts]) {
      server.on('secureConnection', (socket: TLSSocket) => {
        this.#sockets.add(socket)
        socket.once('close', () => this.#sockets.delete(socket))
      })
    }
    this.#servers = [https, mqtts]
    this.#ports = {
      device: await listen(https, this.#ports.device),
      mqtt: await listen(mqtts, this.#ports.mqtt),
    }
  }

  /** As `kill -9`: every connection ends, nothing is said. */
  async down(): Promise<void> {
    const closed = this.#servers.map((server) => new Promise((resolve) => server.close(resolve)))
    for (const socket of this.#sockets) socket.destroy()
    await Promise.all(closed)
    await new Promise<void>((resolve) => this.#broker?.close(resolve))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down()
  }

  /** Ends every connection and goes on listening. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  send(leaf: 'bundle' | 'command' | 'chunk', payload: Buffer | object): void {
    this.#broker?.publish(
      {
        cmd: 'publish',
        topic: topicOf(deviceId, leaf),
        payload: Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload)),
        qos: leaf === 'chunk' ? 0 : 1,
        retain: false,
        dup: false,
      },
      () => {},
    )
  }

  refresh(): void {
    this.send('command', { command: 'refresh' })
  }

  /** The last bundle once more, as QoS 1 may. */
  sendAgain(): void {
    this.send('bundle', this.#lastBundle)
  }

  /** Adds an artifact; its bytes are those of a build of the world. */
  addArtifact(bytes: Buffer): void {
    this.artifacts.set(createHash('sha256').update(bytes).digest('hex'), bytes)
  }

  #receive(topic: string, payload: Buffer): void {
    const leaf = parseTopic(topic)?.leaf
    if (leaf === undefined) return
    const body: unknown = JSON.parse(payload.toString())
    switch (leaf) {
      case 'hello':
        return this.#greeted(Hello.parse(body))
      case 'report':
        return this.#reported(Report.parse(body))
      case 'choice':
        return void this.choices.push(Choice.parse(body))
      case 'event':
        return void this.events.push(DeviceEvent.parse(body))
      case 'get':
        return this.#asked(ChunkRequest.parse(body))
      default:
        throw new Error(`Nobody sends ${leaf}`)
    }
  }

  #greeted(hello: Hello): void {
    this.hellos.push(hello)
    this.world.answer({ question: hello.nonce })
    const bundle = this.changeBundle(this.world.bundle(), hello)
    if (!bundle) return
    this.#lastBundle = encodeBundle(bundle)
    this.send('bundle', this.#lastBundle)
  }

  #asked(request: ChunkRequest): void {
    this.gets.push(request)
    const answer = this.answerGet ?? this.honestChunks
    answer(request)
  }

  honestChunks = (request: ChunkRequest): void => {
    const file = this.fileOf(request)
    if (!file) return this.send('chunk', refusedFrame(request.f, request.o, 'not-allowed'))
    for (const block of blocksOf(request)) this.send('chunk', this.chunkOf(request, block))
  }

  fileOf({ f }: ChunkRequest): Buffer | undefined {
    return [...this.artifacts].find(([sha256]) => sha256.startsWith(f))?.[1]
  }

  /** The frame of one block, as it should be. */
  chunkOf(request: ChunkRequest, block: number): Buffer {
    const { f, l } = request
    const file = this.fileOf(request) ?? Buffer.alloc(0)
    const bytes = file.subarray(block * l, (block + 1) * l)
    const frame = Buffer.concat([Buffer.alloc(frameHeaderBytes), bytes])
    writeDataHeader(frame, { file: f, block, isLast: (block + 1) * l >= file.length })
    return frame
  }

  #reported(report: Report): void {
    this.reports.push(report)
    if (report.state !== 'testing' || !this.commits) return
    const commitNonce = randomBytes(16).toString('hex')
    this.send('command', { command: 'commit', deploymentId: report.deploymentId, commitNonce })
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    this.requests.push(request)
    const path = request.url ?? ''
    if (path.startsWith('/artifacts/')) {
      return (this.answerArtifact ?? this.honestArtifact)(request, response)
    }
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => void this.#est(path, Buffer.concat(chunks).toString(), response))
  }

  honestArtifact: ArtifactAnswer = (request, response) => {
    const sha256 = (request.url ?? '').slice('/artifacts/'.length)
    const bytes = this.artifacts.get(sha256)
    if (!bytes) return void response.writeHead(403).end()
    const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0)
    const range = { 'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}` }
    response.writeHead(start > 0 ? 206 : 200, { etag: `"${sha256}"`, ...(start > 0 && range) })
    response.end(bytes.subarray(start))
  }

  async #est(path: string, body: string, response: ServerResponse): Promise<void> {
    const operation = path.split('/').at(-1)
    if (operation === 'cacerts') {
      return answerEst(response, [this.#root.certificate.der, this.#issuer.certificate.der])
    }
    this.csrs.push(body)
    if (this.estStatus !== 200) return void response.writeHead(this.estStatus).end('not now')
    answerEst(response, [await this.#issue(body)])
  }

  async #issue(body: string): Promise<Buffer> {
    const before = this.#issued.get(body)
    if (before) return before
    const { spki } = parseCsr(Buffer.from(body, 'base64'))
    const input = {
      ...deviceInput(this.#issuer, spki),
      ...recent(),
      san: [deviceIdentity(deviceId)],
    }
    const { der } = await issue('device', this.#issuer, input)
    this.#issued.set(body, der)
    return der
  }
}

function recent() {
  const now = new Date()
  return { notBefore: new Date(now.getTime() - 300_000), notAfter: daysFrom(now, 60) }
}

function answerEst(response: ServerResponse, certificates: Buffer[]): void {
  response.writeHead(200, { 'content-type': 'application/pkcs7-mime; smime-type=certs-only' })
  response.end(certsOnly(certificates).toString('base64'))
}

async function listen(server: Server, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  return (server.address() as AddressInfo).port
}
