import { readFile } from 'node:fs/promises'
import type { IncomingHttpHeaders } from 'node:http'
import https from 'node:https'
import { join } from 'node:path'

import { enrollDevice } from '../../device-sim/enroll.ts'
import { hardwareId, model, type Site } from './operator.ts'
import type { RunningServer } from './server.ts'

export interface DdiAnswer {
  status: number
  headers: IncomingHttpHeaders
  bytes: Buffer
  json: DdiJson
}

/** As much of the contract's shapes as tests look at. */
export interface DdiJson {
  id?: string
  config?: { polling: { sleep: string } }
  _links?: Partial<
    Record<'deploymentBase' | 'cancelAction' | 'confirmationBase' | 'configData', { href: string }>
  >
  deployment?: DdiDeployment
  confirmation?: DdiDeployment
  cancelAction?: { stopId: string }
}
interface DdiDeployment {
  download: string
  update: string
  chunks: {
    part: string
    version: string
    name: string
    artifacts: {
      filename: string
      size: number
      hashes: { sha1: string; md5: string; sha256: string }
      _links: Record<'download' | 'download-http' | 'md5sum' | 'md5sum-http', { href: string }>
    }[]
  }[]
}

/** A device with a certificate, in a group of its own, that speaks raw DDI. */
export class DdiClient {
  readonly deviceId: string
  readonly #tls: { ca: string; cert: string; key: string }
  readonly #base: string

  private constructor(
    deviceId: string,
    base: string,
    tls: { ca: string; cert: string; key: string },
  ) {
    this.deviceId = deviceId
    this.#base = base
    this.#tls = tls
  }

  static async enroll(server: RunningServer, site: Site, serial: string): Promise<DdiClient> {
    const dir = join(server.dataDir, '..', 'devices', serial)
    const ca = await readFile(server.ca, 'utf8')
    await enrollDevice({
      dir,
      root: ca,
      imageRoot: site.imageRoot,
      directorRoot: site.directorRoot,
      profile: site.profile,
      token: site.token,
      config: {
        format: 1,
        serverHost: 'localhost',
        devicePort: server.ports.device,
        mqttPort: server.ports.mqtt,
        model,
        hardwareIds: [hardwareId],
        components: { main: { version: '1.0.0', build: 100, svn: 1 } },
        serialNumber: serial,
        allowEvaluation: true,
      },
    })
    const pem = await readFile(join(dir, 'identity.pem'), 'utf8')
    const key = /-----BEGIN PRIVATE KEY-----[^]*?-----END PRIVATE KEY-----/.exec(pem)?.[0] ?? ''
    const cert = pem.replace(key, '')
    return await DdiClient.of(server, site, serial, { ca, cert, key })
  }

  /** A device that enrolled by other means; what it shows is PEM. */
  static async of(
    server: RunningServer,
    { operator: { fleetseal } }: Site,
    serial: string,
    tls: { ca: string; cert: string; key: string },
  ): Promise<DdiClient> {
    const { id } = await fleetseal<{ id: string }>('device', 'show', serial)
    await fleetseal('group', 'create', serial)
    await fleetseal('group', 'add', serial, serial)
    return new DdiClient(id, `https://localhost:${server.ports.device}`, tls)
  }

  /** PEM of what this device shows. */
  get credentials() {
    return this.#tls
  }

  url(path: string): string {
    return `${this.#base}/DEFAULT/controller/v1/${this.deviceId}${path}`
  }

  async call(
    method: string,
    href: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<DdiAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<DdiAnswer>()
    const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
    const request = https.request(href.startsWith('https:') ? href : this.url(href), {
      method,
      ...this.#tls,
      agent: false,
      headers: {
        ...(sent === undefined ? {} : { 'Content-Type': 'application/json' }),
        ...headers,
      },
    })
    request.once('error', reject)
    request.once('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () => {
        const bytes = Buffer.concat(chunks)
        const { statusCode: status = 0, headers: answered } = response
        resolve({ status, headers: answered, bytes, json: jsonIn(bytes) })
      })
    })
    request.end(sent)
    return await promise
  }

  async root(): Promise<DdiJson> {
    const { status, json } = await this.call('GET', '')
    if (status !== 200) throw new Error(`a poll was answered ${status}`)
    return json
  }

  async tell(
    actionId: string,
    execution: string,
    finished: string,
    details: string[] = [],
  ): Promise<number> {
    const status = { execution, result: { finished }, details }
    const body = { id: Number(actionId), time: '20261126T120000', status }
    return (await this.call('POST', `/deploymentBase/${actionId}/feedback`, body)).status
  }

  async attributes(data: Record<string, unknown>, mode?: string): Promise<number> {
    const body = { id: '', time: '20261126T120000', status: {}, ...(mode ? { mode } : {}), data }
    return (await this.call('PUT', '/configData', body)).status
  }
}

function jsonIn(bytes: Buffer): DdiJson {
  try {
    return JSON.parse(bytes.toString('utf8')) as DdiJson
  } catch {
    return {}
  }
}
