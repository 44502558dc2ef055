import { readFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'

import { deviceIdOf } from '../device-sim/identity.ts'
import { readCertsOnly } from '../pki/cms/certs-only.ts'
import { buildCsr } from '../pki/csr/build.ts'
import { generatePrivateKey } from '../pki/keys.ts'
import { encodeName } from '../pki/names.ts'
import { toPem } from '../pki/pem.ts'
import { parseCertificate } from '../pki/x509/parse.ts'
import type { Site } from '../test/support/operator.ts'
import type { RunningServer } from '../test/support/server.ts'
import type { Credential } from './load/orders.ts'

const lanes = 16

/** Devices of a running server, enrolled as devices are (EST), over a few connections that are kept: about 500 a second. */
export async function enrollDevices(
  server: RunningServer,
  { profile, token }: Pick<Site, 'profile' | 'token'>,
  { count, prefix = 'BENCH' }: { count: number; prefix?: string },
): Promise<{ credentials: Credential[]; ca: string }> {
  const ca = await readFile(server.ca, 'utf8')
  const agent = new Agent({ keepAlive: true, maxSockets: lanes, ca })
  const est = new Est(agent, server.ports.device, `${profile}:${token}`)
  try {
    const issuers = await est.issuers()
    const credentials: Credential[] = []
    let next = 0
    const lane = async () => {
      for (let n = next++; n < count; n = next++) {
        const key = generatePrivateKey('P-256')
        const subject = encodeName({ commonName: `${prefix}-${n}` })
        const der = await est.enroll(buildCsr(key, { subject }))
        credentials[n] = {
          deviceId: deviceIdOf(parseCertificate(der)),
          key: String(key.export({ type: 'pkcs8', format: 'pem' })),
          cert: toPem('CERTIFICATE', der) + issuers,
        }
      }
    }
    await Promise.all(Array.from({ length: lanes }, lane))
    return { credentials, ca }
  } finally {
    agent.destroy()
  }
}

class Est {
  readonly #agent: Agent
  readonly #port: number
  readonly #authorization: string

  constructor(agent: Agent, port: number, credentials: string) {
    this.#agent = agent
    this.#port = port
    this.#authorization = `Basic ${Buffer.from(credentials).toString('base64')}`
  }

  /** What a device shows beside its own certificate, PEM: authorities without the root. */
  async issuers(): Promise<string> {
    const all = readCertsOnly(await this.#ask('GET', 'cacerts')).map((der) => ({
      der,
      parsed: parseCertificate(der),
    }))
    return all
      .filter(({ parsed }) => !parsed.subject.equals(parsed.issuer))
      .map(({ der }) => toPem('CERTIFICATE', der))
      .join('')
  }

  async enroll(csr: Buffer): Promise<Buffer> {
    const [der] = readCertsOnly(await this.#ask('POST', 'simpleenroll', csr.toString('base64')))
    if (!der) throw new Error('The server issued nothing')
    return der
  }

  /** Gives what was in base64. */
  async #ask(method: 'GET' | 'POST', operation: string, body = ''): Promise<Buffer> {
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
    const sent = request({
      agent: this.#agent,
      host: 'localhost',
      port: this.#port,
      path: `/.well-known/est/${operation}`,
      method,
      headers:
        body === ''
          ? {}
          : {
              authorization: this.#authorization,
              'content-type': 'application/pkcs10',
              'content-length': body.length,
            },
    })
    sent.on('error', reject)
    sent.on('response', (response) => {
      let text = ''
      response.on('data', (piece: Buffer) => (text += piece.toString('latin1')))
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode === 200) resolve(Buffer.from(text, 'base64'))
        else reject(new Error(`${operation} was answered ${response.statusCode}: ${text}`))
      })
    })
    sent.end(body)
    return await promise
  }
}
