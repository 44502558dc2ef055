import { z } from 'zod'

import { unwrapKey } from '../../pki/wrap.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { readWebhookUrl } from '../webhooks/address.ts'
import { callWebhook } from '../webhooks/call.ts'
import { secretText, webhookHeaders } from '../webhooks/sign.ts'
import type { Profile } from './store.ts'
import { webhookContext } from './webhook-context.ts'

const defaultTimeoutMs = 10_000
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

export function webhookSecret(kek: Buffer, { id, webhook_secret: sealed }: Profile): string | null {
  return sealed && secretText(unwrapKey(kek, sealed, webhookContext(id)))
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
    const url = readWebhookUrl(address, { isPrivateAllowed, at: 'webhook.url' })
    const key = unwrapKey(kek, sealed, webhookContext(profile.id))
    const now = clock.now()
    const about = { id: profile.id, name: profile.name }
    const body = JSON.stringify({ type: 'enrollment', profile: about, ...question })
    const headers = webhookHeaders([key], { id: newId(now), now, body })
    const { status, text } = await callWebhook(url, { headers, body, timeoutMs, isPrivateAllowed })
    if (status !== 200) throw new Error(`status ${status}`)
    answer = Answer.parse(JSON.parse(text))
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
