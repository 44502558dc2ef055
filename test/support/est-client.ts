import type { KeyObject } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import https from 'node:https'
import { join } from 'node:path'
import type { ConnectionOptions, TLSSocket } from 'node:tls'

import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { toPem } from '../../pki/pem.ts'
import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import { createDeviceApp } from '../../server/http/device-app.ts'
import {
  type HttpLimits,
  listenHttp,
  listenHttps,
  type Listening,
} from '../../server/http/listen.ts'
import { createPublicApp } from '../../server/http/public-app.ts'
import type { WorldContext } from './identity-world.ts'

/** The devices' and the public listener of a world, on free ports. */
export async function listenForDevices(
  ctx: WorldContext,
  limits: Partial<HttpLimits> = {},
): Promise<{ device: Listening; public: Listening } & AsyncDisposable> {
  const storage = await openDirectoryStorage(join(ctx.config.dataDir, 'artifacts'))
  const full = { ...ctx, storage }
  const open = await listenHttp(full, createPublicApp(full), { port: 0 })
  ctx.authorities.urls.setPort(open.port)
  const device = await listenHttps(full, createDeviceApp(full), {
    port: 0,
    clientCertificates: true,
    limits: { stopMs: 100, ...limits },
  })
  return {
    device,
    public: open,
    [Symbol.asyncDispose]: async () => {
      await device[Symbol.asyncDispose]()
      await open[Symbol.asyncDispose]()
      await storage[Symbol.asyncDispose]()
    },
  }
}

export interface EstAnswer {
  status: number
  headers: IncomingHttpHeaders
  text: string
  /** Of a certs-only answer. */
  certificates: Buffer[]
  socket: TLSSocket
}

export interface EstCall {
  method?: string
  path: string
  body?: string | Buffer
  headers?: Record<string, string>
  /** For HTTP Basic. */
  user?: string
  token?: string
  client?: { key: KeyObject; der: Buffer } | undefined
  agent?: https.Agent
  tls?: https.RequestOptions & Pick<ConnectionOptions, 'session'>
}

/** What a client presents: the leaf and its issuer, as devices do. */
export function clientPem(ctx: WorldContext, client: { key: KeyObject; der: Buffer }) {
  return {
    key: client.key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: toPem('CERTIFICATE', client.der) + toPem('CERTIFICATE', ctx.authorities.devices.der),
  }
}

/** An EST client that checks the server like a device would, and says everything about the answer. */
export function estClient(ctx: WorldContext, port: number) {
  return async (call: EstCall): Promise<EstAnswer> => {
    const { promise, resolve, reject } = Promise.withResolvers<EstAnswer>()
    const { user = '', token, client } = call
    const basic = Buffer.from(`${user}:${token ?? ''}`).toString('base64')
    const request = https.request({
      host: 'localhost',
      port,
      method: call.method ?? (call.body === undefined ? 'GET' : 'POST'),
      path: call.path.startsWith('/') ? call.path : `/.well-known/est/${call.path}`,
      ca: ctx.authorities.rootPem,
      agent: call.agent ?? false,
      headers: {
        ...(call.body === undefined ? {} : { 'Content-Type': 'application/pkcs10' }),
        ...(token === undefined ? {} : { Authorization: `Basic ${basic}` }),
        ...call.headers,
      },
      ...(client ? clientPem(ctx, client) : {}),
      ...call.tls,
    })
    request.once('error', reject)
    request.once('response', (response) => {
      const chunks: Buffer[] = []
      const socket = response.socket as TLSSocket
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () => {
        const text = Buffer.concat(chunks).toString('utf8')
        const { statusCode: status = 0, headers } = response
        const isCertificates =
          status === 200 && headers['content-type']?.startsWith('application/pkcs7-mime')
        const certificates =
          isCertificates && text !== '' ? readCertsOnly(Buffer.from(text, 'base64')) : []
        resolve({ status, headers, text, certificates, socket })
      })
    })
    request.end(call.body)
    return await promise
  }
}

/** DER as EST bodies are: base64 in lines. */
export function base64Lines(der: Buffer, { width = 64, end = '\n' } = {}): string {
  return (der.toString('base64').match(new RegExp(`.{1,${width}}`, 'g')) ?? []).join(end) + end
}
