import { createHmac } from 'node:crypto'
import { lookup } from 'node:dns'
import { type IncomingMessage, request as httpRequest, type RequestOptions } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIP, type LookupFunction } from 'node:net'

import { z } from 'zod'

import { unwrapKey } from '../../pki/wrap.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { Profile } from './store.ts'
import { hostOf, isPrivateAddress, readWebhookUrl, webhookContext } from './webhook-url.ts'

const defaultTimeoutMs = 10_000
const maxAnswerBytes = 16_384
const maxInFlight = 64

const Answer = z.object({
  decision: z.enum(['allow', 'deny']),
  reason: z.string().max(500).optional(),
})

/** What the webhook is asked about. */
export interface Question {
  serialNumber: string
  /** Lower hex SHA-256 of the public key (SubjectPublicKeyInfo). */
  keySha256: string
  keyAlgorithm: string
  credential: { id: string; kind: string }
}

type Deps = Pick<Context, 'kek' | 'clock' | 'log'> & {
  config: Pick<Context['config'], 'privateWebhooks'>
}

/** As in Standard Webhooks: `whsec_` and the key in base64. */
export function webhookSecret(kek: Buffer, { id, webhook_secret: sealed }: Profile): string | null {
  return sealed && `whsec_${unwrapKey(kek, sealed, webhookContext(id)).toString('base64')}`
}

/** `v1,` and HMAC-SHA256 over id, time and body (Standard Webhooks 1.0). */
export function signWebhook(
  key: Buffer,
  { id, at, body }: { id: string; at: string; body: string },
) {
  return `v1,${createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64')}`
}

let inFlight = 0

/**
 * Asks a profile's webhook, by a signed POST. Only a timely, well-formed 200 that says `{"decision":"allow"}` lets an enrollment go
 * on: no connection, no answer in ten seconds, a redirect, another status and a malformed body all refuse it.
 *
 * @throws DomainError `not-allowed`; `busy` when too many are being asked
 */
export async function askWebhook(
  { kek, clock, log, config }: Deps,
  profile: Profile,
  question: Question,
  timeoutMs = defaultTimeoutMs,
): Promise<void> {
  const { webhook_url: address, webhook_secret: sealed } = profile
  if (address === null || sealed === null) return
  if (inFlight >= maxInFlight) throw new DomainError('busy', 'Too many requests at once')
  inFlight += 1
  let answer: z.infer<typeof Answer>
  try {
    const isPrivateAllowed = config.privateWebhooks
    const url = readWebhookUrl(address, { isPrivateAllowed })
    const key = unwrapKey(kek, sealed, webhookContext(profile.id))
    const now = clock.now()
    const id = newId(now)
    const at = String(Math.floor(now.getTime() / 1000))
    const about = { id: profile.id, name: profile.name }
    const body = JSON.stringify({ type: 'enrollment', profile: about, ...question })
    const headers = {
      'Content-Type': 'application/json',
      'Content-Length': Buffer.byteLength(body),
      'webhook-id': id,
      'webhook-timestamp': at,
      'webhook-signature': signWebhook(key, { id, at, body }),
    }
    answer = await post(url, { headers, body, timeoutMs, isPrivateAllowed })
  } catch (error) {
    log.warn({ err: error, profile: profile.name }, 'enrollment webhook failed')
    throw new DomainError('not-allowed', 'The enrollment could not be confirmed: try again later')
  } finally {
    inFlight -= 1
  }
  if (answer.decision !== 'allow') {
    throw new DomainError(
      'not-allowed',
      'The enrollment was refused by the operator of this line',
      {
        reason: answer.reason,
      },
    )
  }
}

interface Post {
  headers: RequestOptions['headers']
  body: string
  timeoutMs: number
  isPrivateAllowed: boolean
}

async function post(url: URL, call: Post): Promise<z.infer<typeof Answer>> {
  const host = hostOf(url)
  // A literal address is not looked up.
  if (isIP(host) !== 0 && !call.isPrivateAllowed && isPrivateAddress(host)) {
    throw new Error('an address of a private network')
  }
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const outgoing = (url.protocol === 'https:' ? httpsRequest : httpRequest)(url, {
    method: 'POST',
    headers: call.headers,
    agent: false,
    lookup: call.isPrivateAllowed ? lookup : publicOnly,
    // Covers all of it: name, connection, handshake, head and body.
    signal: AbortSignal.timeout(call.timeoutMs),
  })
  outgoing.once('response', resolve)
  outgoing.on('error', reject)
  outgoing.end(call.body)
  const incoming = await promise
  try {
    if (incoming.statusCode !== 200) throw new Error(`status ${incoming.statusCode}`)
    return Answer.parse(JSON.parse(await textOf(incoming)))
  } finally {
    incoming.destroy()
    outgoing.destroy()
  }
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
