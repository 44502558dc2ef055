import { readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import tls from 'node:tls'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DdiClient } from '../support/ddi-client.ts'
import { imageFor } from '../support/images.ts'
import { model, openSite, publishRelease, type Site, startRollout } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site
let releases = 0

beforeAll(async () => {
  server = await startServer({})
  site = await openSite(server)
})
afterAll(() => server[Symbol.asyncDispose]())

const fleetseal = async <T = Record<string, unknown>>(...args: string[]) =>
  await site.operator.fleetseal<T>(...args)

/** The bytes of one connection, one answer at a time. */
class Wire implements Disposable {
  readonly #socket: tls.TLSSocket
  #received = Buffer.alloc(0)
  #ended = false

  constructor(client: DdiClient, maxVersion: 'TLSv1.2' | 'TLSv1.3') {
    this.#socket = tls.connect({
      host: 'localhost',
      port: server.ports.device,
      ...client.credentials,
      maxVersion,
    })
    this.#socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
    })
    this.#socket.once('close', () => (this.#ended = true))
    this.#socket.once('error', () => (this.#ended = true))
  }

  [Symbol.dispose](): void {
    this.#socket.destroy()
  }

  async exchange(request: string): Promise<{ head: string; body: Buffer }> {
    this.#socket.write(request)
    for (let n = 0; n < 6_000 && !this.#ended; n++) {
      const end = this.#received.indexOf('\r\n\r\n')
      const head = this.#received.toString('latin1', 0, Math.max(end, 0))
      // Whoever has no length sends no body that these clients could read.
      const length = Number(/^content-length: (\d+)$/im.exec(head)?.[1] ?? Number.NaN)
      if (end >= 0 && Number.isNaN(length)) throw new Error(`no Content-Length: ${head}`)
      if (end >= 0 && this.#received.length >= end + 4 + length) {
        const body = Buffer.from(this.#received.subarray(end + 4, end + 4 + length))
        this.#received = this.#received.subarray(end + 4 + length)
        return { head, body }
      }
      await sleep(10)
    }
    throw new Error(`no answer to ${request.split('\r\n', 1)[0]}`)
  }
}

/** As on the wire: lines of the head end with CR LF, and the body is as it is. */
function onWire(block: string): string {
  const [head = '', ...body] = block.split('\n\n')
  return `${head.trimEnd().replaceAll('\n', '\r\n')}\r\n\r\n${body.join('\n\n').trimEnd()}`
}

/** What differs each time is replaced by what it is. */
function golden({ head, body }: { head: string; body: Buffer }, names: Map<string, string>) {
  const isBytes = /^content-type: application\/octet-stream$/im.test(head)
  let text =
    `${head.replaceAll('\r\n', '\n')}\n${isBytes ? `(${body.length} bytes)` : body.toString()}`
      .replace(/^(X-Request-Id|Date|Last-Modified): .*$/gm, '$1: …')
      .replace(/"sleep":"\d\d:\d\d:\d\d"/, '"sleep":"HH:MM:SS"')
  for (const [value, name] of names) text = text.replaceAll(value, name)
  return text.trimEnd()
}

const hosts = [
  { profile: 'rauc', file: 'rauc-hawkbit-updater', fileName: 'gate.raucb', board: undefined },
  { profile: 'zephyr', file: 'zephyr', fileName: 'gate.bin', board: 'frdm_k64f-0012ab34' },
]

/**
 * Recorded from rauc-hawkbit-updater 1.4 and written down from Zephyr's source (fixtures/ddi). Each request is sent byte for byte on one
 * connection; the answers are compared whole, headers included.
 */
test.each(hosts)('the conversation of $file', async ({ profile, file, fileName, board }) => {
  const serial = `GOLD-${profile}`
  const proof = board === undefined ? ['--version-attribute', 'swVersion'] : ['--claim-after-boot']
  await fleetseal('ddi', 'model', model, profile, ...proof)
  await fleetseal('ddi', 'profile', 'line-1', model, 'gate-2-r3')
  const client = await DdiClient.enroll(server, site, serial)
  if (board !== undefined) await fleetseal('ddi', 'name', serial, board)
  const host = `localhost:${server.ports.device}`
  const controller = board ?? client.deviceId
  const names = new Map([
    [client.deviceId, '{device}'],
    [controller, '{controller}'],
    [host, '{host}'],
  ])
  const payload = Buffer.alloc(5_000, 1)
  const operator = createOperator(client, serial, (version) => ({
    image: imageFor(profile, version, payload),
    fileName,
  }))
  const script = await readFile(new URL(`../fixtures/ddi/${file}.txt`, import.meta.url), 'utf8')
  // Zephyr speaks no newer one.
  using wire = new Wire(client, profile === 'zephyr' ? 'TLSv1.2' : 'TLSv1.3')
  const heard: string[] = []
  for (const block of script.split('\n----\n')) {
    const order = /^# operator: (\w+) ?(.*)$/m.exec(block)
    if (order) {
      await operator(order[1] ?? '', order[2] ?? '')
      heard.push(block.trim())
      continue
    }
    const sent = onWire(block)
      .replaceAll('{device}', client.deviceId)
      .replaceAll('{controller}', controller)
      .replaceAll('{host}', host)
    const answer = golden(await wire.exchange(sent), names)
    heard.push(`> ${block.split('\n', 1)[0]}\n${answer}`)
  }
  const path = `../fixtures/ddi/${file}.golden.txt`
  await expect(`${heard.join('\n\n')}\n`).toMatchFileSnapshot(path)
})

/** What happens between the requests. The bytes of an image depend on its version alone. */
function createOperator(client: DdiClient, serial: string, image: (version: string) => Upload) {
  let rollout = ''
  /** Rollouts are driven by workers: what they are to do is done before the conversation goes on. */
  const shows = async (name: 'deploymentBase' | 'cancelAction') => {
    for (let n = 0; n < 100; n++) {
      if ((await client.root())._links?.[name] !== undefined) return
      await sleep(1_000)
    }
    throw new Error(`the device is not shown ${name}`)
  }
  return async (word: string, value: string): Promise<void> => {
    if (word === 'release') {
      releases += 1
      const release = { version: value, build: 100 + releases, ...image(value) }
      const published = await publishRelease(site, { ...release, metadataVersion: releases })
      rollout = await startRollout(site, published, serial)
      await shows('deploymentBase')
    } else if (word === 'cancel') {
      await fleetseal('rollout', 'cancel', rollout)
      await shows('cancelAction')
    } else {
      const [row] = await fleetseal<{ state: string }[]>('rollout', 'deployments', rollout)
      expect(row?.state).toBe(value)
    }
  }
}

interface Upload {
  image: Buffer
  fileName: string
}
