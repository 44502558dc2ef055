import { lookup } from 'node:dns'
import { type ClientRequest, type IncomingMessage, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'

import { hostOf, isPrivateAddress } from './address.ts'

const maxAnswerBytes = 16_384
/** Of the name and the connection, TLS included. */
const connectMs = 5_000

export interface Call {
  headers: Record<string, string>
  body: string
  /** For all of it: name, connection, handshake, head and body. */
  timeoutMs: number
  isPrivateAllowed: boolean
  signal?: AbortSignal
}

export interface CallAnswer {
  status: number
  text: string
}

/**
 * POSTs to a webhook and gives what it answers, whatever the status; a redirect is an answer like any other and is not followed. Every call has a
 * connection of its own. At most 16 kB of an answer are read.
 *
 * @throws Error no answer in time, a larger one, no connection, or an address of a private network where that is not allowed
 */
export async function callWebhook(url: URL, call: Call): Promise<CallAnswer> {
  const host = hostOf(url)
  // A literal address is not looked up.
  if (isIP(host) !== 0 && !call.isPrivateAllowed && isPrivateAddress(host)) {
    throw new Error('an address of a private network')
  }
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const ends = [AbortSignal.timeout(call.timeoutMs), ...(call.signal ? [call.signal] : [])]
  const outgoing = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
    method: 'POST',
    headers: { ...call.headers, 'Content-Length': Buffer.byteLength(call.body) },
    agent: false,
    lookup: call.isPrivateAllowed ? lookup : publicOnly,
    signal: AbortSignal.any(ends),
  })
  outgoing.once('response', resolve)
  outgoing.on('error', reject)
  const connecting = limitConnecting(outgoing, url)
  outgoing.end(call.body)
  try {
    const incoming = await promise
    return { status: incoming.statusCode ?? 0, text: await textOf(incoming) }
  } finally {
    clearTimeout(connecting)
    outgoing.destroy()
  }
}

function limitConnecting(outgoing: ClientRequest, url: URL): NodeJS.Timeout {
  const timer = setTimeout(() => {
    outgoing.destroy(new Error(`no connection within ${connectMs / 1000} seconds`))
  }, connectMs)
  outgoing.once('socket', (socket) => {
    socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => clearTimeout(timer))
  })
  return timer
}

async function textOf(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxAnswerBytes) throw new Error('the answer is too large')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The address that is checked is the one that is connected to: a name cannot change its mind in between. */
const publicOnly: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, '')
    if (addresses.length === 0 || addresses.some(({ address }) => isPrivateAddress(address))) {
      return callback(new Error(`${hostname} leads to an address of a private network`), '')
    }
    if (options.all) return callback(null, addresses)
    const [first] = addresses
    return callback(null, first?.address ?? '', first?.family)
  })
}
