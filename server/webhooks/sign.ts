import { createHmac } from 'node:crypto'

/** As in Standard Webhooks: `whsec_` and the key in base64. */
export function secretText(key: Buffer): string {
  return `whsec_${key.toString('base64')}`
}

/** `v1,` and HMAC-SHA256 over id, time (seconds) and body (Standard Webhooks 1.0). */
export function signWebhook(
  key: Buffer,
  { id, at, body }: { id: string; at: string; body: string },
): string {
  return `v1,${createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64')}`
}

/** The headers of a call: while a secret is being replaced, a signature by each, so that a receiver needs to know one of them. */
export function webhookHeaders(
  keys: readonly Buffer[],
  { id, now, body }: { id: string; now: Date; body: string },
): Record<string, string> {
  const at = String(Math.floor(now.getTime() / 1000))
  return {
    'Content-Type': 'application/json',
    'User-Agent': 'Fleetseal',
    'webhook-id': id,
    'webhook-timestamp': at,
    'webhook-signature': keys.map((key) => signWebhook(key, { id, at, body })).join(' '),
  }
}
