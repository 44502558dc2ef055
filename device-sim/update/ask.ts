import {
  type ClientRequest,
  type IncomingMessage,
  request as httpRequest,
  type RequestOptions,
} from 'node:http'
import { request as httpsRequest } from 'node:https'

import { messageOf } from '../errors.ts'
import { presenting } from '../tls.ts'
import { Interruption, type Wanted } from './transfer.ts'

export interface DownloadServer {
  host: string
  port: number
  /** The pinned root and the device's own key and chain, PEM. */
  root: string
  key: string
  certificates: string
}

/** Serves the same bytes to anybody under `/artifacts/<sha256>`; it is not trusted, hashes decide (updates.md section 6). */
export interface Mirror {
  /** `https://` or `http://`, without a slash at the end. */
  url: string
  /** PEM; the system's when left out. */
  ca?: string | undefined
}

export interface Asked {
  /** The first byte that is missing. */
  from: number
  signal: AbortSignal
}

const silenceMs = 30_000

/**
 * One request for the bytes from `from` on.
 *
 * @param asksForLink whether the server may answer with a link to its store; not with `If-Range`, for the store has other tags
 * @throws Interruption when nothing answers
 */
export async function ask(
  source: DownloadServer | Mirror,
  { sha256 }: Wanted,
  { from, signal, asksForLink = false }: Asked & { asksForLink?: boolean },
): Promise<IncomingMessage> {
  const path = `/artifacts/${sha256}`
  const tag = asksForLink
    ? { prefer: 'respond-redirect' }
    : from > 0 && { 'if-range': `"${sha256}"` }
  const common = optionsOf({ from, signal }, tag || {})
  const sent = 'url' in source ? askMirror(source, path, common) : askServer(source, path, common)
  return await answerTo(sent)
}

/** What every request for bytes has, whoever is asked: nothing in it says who asks. */
export function optionsOf(
  { from, signal }: Asked,
  headers: Record<string, string> = {},
): RequestOptions {
  return {
    agent: false,
    timeout: silenceMs,
    signal,
    headers: {
      'accept-encoding': 'identity',
      ...(from > 0 && { range: `bytes=${from}-` }),
      ...headers,
    },
  }
}

/** @throws Interruption when nothing answers */
export async function answerTo(sent: ClientRequest): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  sent.on('timeout', () => sent.destroy(new Error('The server is silent')))
  sent.on('error', reject)
  sent.on('response', resolve)
  sent.end()
  try {
    return await promise
  } catch (error) {
    throw new Interruption(messageOf(error), { isUnreachable: true })
  }
}

function askServer(server: DownloadServer, path: string, common: RequestOptions): ClientRequest {
  const { host, port, root } = server
  return httpsRequest({ ...common, host, port, path, ca: root, ...presenting(server) })
}

/** The device's certificate is shown to nobody but its server. */
function askMirror({ url, ca }: Mirror, path: string, common: RequestOptions): ClientRequest {
  const target = new URL(`${url}${path}`)
  if (target.protocol === 'http:') return httpRequest(target, common)
  return httpsRequest(target, { ...common, ...(ca !== undefined && { ca }) })
}
