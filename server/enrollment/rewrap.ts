import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import type { Tx } from '../db/client.ts'
import { lockWebhookSecrets, setWebhookSecret } from './store.ts'
import { webhookContext } from './webhook-context.ts'

/** Seals the secrets of all webhooks with another key-encryption key, in the caller's transaction. Returns how many. */
export async function rewrapWebhookSecrets(tx: Tx, from: Buffer, to: Buffer): Promise<number> {
  const rows = await lockWebhookSecrets(tx)
  for (const { id, webhook_secret: sealed } of rows) {
    if (!sealed) continue
    const context = webhookContext(id)
    await setWebhookSecret(tx, id, wrapKey(to, unwrapKey(from, sealed, context), context))
  }
  return rows.length
}
