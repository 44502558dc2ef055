import { randomBytes } from 'node:crypto'

import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { recordAudit } from '../audit/audit.ts'
import { assertKek } from '../authorities/kek-check.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { enqueue } from '../outbox/outbox.ts'
import type { EventType } from '../outbox/wire.ts'
import { assertVersion, type Versions } from '../version.ts'
import { readWebhookUrl } from './address.ts'
import { mostWaiting, replayEvents } from './delivery-store.ts'
import { secretText } from './sign.ts'
import {
  deleteEndpoint,
  type Endpoint,
  type EndpointDetails,
  getEndpoint,
  insertEndpoint,
  lockEndpoint,
  lockSecrets,
  updateEndpoint,
} from './store.ts'
import type { endpointActions, ReplayBody } from './wire.ts'

interface By {
  actor: string
  requestId?: string
}

interface ByOfSeen extends By {
  /** What it has to be now; whatever it is when undefined. */
  ifMatch?: Versions | undefined
}

type Deps = Pick<Context, 'db' | 'clock' | 'kek' | 'config'>

const hourMs = 3_600_000
const defaultOverlapHours = 24

/** What a sealed secret is bound to. */
function context(id: string): string {
  return `webhook ${id}`
}

/**
 * Makes an endpoint. The same id again changes nothing and gives no secret.
 *
 * @throws DomainError `invalid-request` for an address that is not allowed, `quota-exhausted`
 */
export async function createEndpoint(
  { db, clock, kek, config }: Deps,
  given: { id: string; url: string; description: string; types: EventType[]; groupIds: string[] },
  by: By,
): Promise<{ endpoint: EndpointDetails; secret: string | null }> {
  const { id, description, types, groupIds } = given
  const url = allowedUrl(config, given.url)
  const key = randomBytes(32)
  const secret = wrapKey(kek, key, context(id))
  const now = clock.now()
  const isNew = await inTransaction(db, async (tx) => {
    await assertKek(tx, kek)
    const row = { ...nothingYet, id, url, description, types, group_ids: groupIds, secret }
    const at = { created_by: by.actor, created_at: now, changed_at: now }
    if (!(await insertEndpoint(tx, { ...row, ...at }))) return false
    await audit(tx, 'webhook.create', id, { url, types, groupIds }, { ...by, now })
    return true
  })
  return { endpoint: await getEndpoint(db, id), secret: isNew ? secretText(key) : null }
}

const nothingYet = {
  state: 'active' as const,
  disabled_because: null,
  previous_secret: null,
  previous_until: null,
  failing_since: null,
  retry_at: null,
  missed_from: null,
  missed_until: null,
}

/** @throws DomainError `not-found`, `precondition-failed`, `invalid-request` for an address that is not allowed */
export async function changeEndpoint(
  { db, clock, config }: Deps,
  id: string,
  patch: {
    url?: string | undefined
    description?: string | undefined
    types?: EventType[] | undefined
    groupIds?: string[] | undefined
  },
  { ifMatch, ...by }: ByOfSeen,
): Promise<EndpointDetails> {
  const url = patch.url === undefined ? undefined : allowedUrl(config, patch.url)
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const before = await lockEndpoint(tx, id)
    assertVersion(String(before.version), ifMatch)
    const after = {
      url: url ?? before.url,
      description: patch.description ?? before.description,
      types: patch.types ?? before.types,
      group_ids: patch.groupIds ?? before.group_ids,
    }
    // Another address deserves another try at once.
    const anew = url === undefined ? {} : awake
    await updateEndpoint(tx, id, { ...after, ...anew, changed_at: now })
    await audit(tx, 'webhook.change', id, { before: told(before), after }, { ...by, now })
  })
  return await getEndpoint(db, id)
}

const awake = { failures: 0, failing_since: null, retry_at: null }

function told({ url, description, types, group_ids }: Endpoint) {
  return { url, description, types, group_ids }
}

/** What waits for it and its dead letters go with it. @throws DomainError `not-found`, `precondition-failed` */
export async function removeEndpoint(
  { db, clock }: Deps,
  id: string,
  { ifMatch, ...by }: ByOfSeen,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    const { url, version } = await lockEndpoint(tx, id)
    assertVersion(String(version), ifMatch)
    await deleteEndpoint(tx, id)
    await audit(tx, 'webhook.delete', id, { url }, { ...by, now: clock.now() })
  })
}

/**
 * Switches it off or on, sends a test, or puts another secret in place. What was told to an endpoint that is off waits until it is on again, at most as
 * long as anything waits.
 *
 * @throws DomainError `not-found`; `conflict` for a test of an endpoint that is off
 */
export async function actOnEndpoint(
  deps: Deps,
  id: string,
  ask: { action: (typeof endpointActions)[number]; overlapHours?: number | undefined },
  by: By,
): Promise<{ endpoint: EndpointDetails; secret: string | null }> {
  const { db, clock, kek } = deps
  const key = randomBytes(32)
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    const before = await lockEndpoint(tx, id)
    switch (ask.action) {
      case 'enable':
        await updateEndpoint(tx, id, {
          ...awake,
          state: 'active',
          disabled_because: null,
          changed_at: now,
        })
        break
      case 'disable':
        await updateEndpoint(tx, id, {
          state: 'disabled',
          disabled_because: 'operator',
          changed_at: now,
        })
        break
      case 'test':
        await sendTest(tx, before, by, now)
        break
      case 'rotate-secret':
        await assertKek(tx, kek)
        await updateEndpoint(tx, id, {
          secret: wrapKey(kek, key, context(id)),
          ...previousOf(before, ask.overlapHours ?? defaultOverlapHours, now),
          changed_at: now,
        })
        break
      default:
        throw new DomainError('invalid-request', 'No such action')
    }
    await audit(tx, `webhook.${ask.action}`, id, { url: before.url }, { ...by, now })
  })
  const secret = ask.action === 'rotate-secret' ? secretText(key) : null
  return { endpoint: await getEndpoint(db, id), secret }
}

function previousOf({ secret }: Endpoint, hours: number, now: Date) {
  if (hours === 0) return { previous_secret: null, previous_until: null }
  return { previous_secret: secret, previous_until: new Date(now.getTime() + hours * hourMs) }
}

async function sendTest(tx: Tx, { id, state }: Endpoint, by: By, now: Date): Promise<void> {
  if (state !== 'active') {
    throw new DomainError('conflict', 'The webhook is disabled: enable it first', {
      endpointId: id,
    })
  }
  const data = { sentBy: by.actor }
  // In no order with anything else: a test is to arrive now.
  const subject = `${id} ${now.getTime()}`
  await enqueue(tx, { type: 'webhook.test', at: now, subject, data, endpointId: id })
}

/**
 * Sends again what is kept (docs/webhooks.md). At most as much as an endpoint may have waiting; the oldest first.
 *
 * @returns how many wait now that did not before
 * @throws DomainError `not-found`
 */
export async function replay(
  { db, clock }: Deps,
  id: string,
  ask: ReplayBody,
  by: By,
): Promise<number> {
  const now = clock.now()
  const what = 'from' in ask ? spanOf(ask, now) : ask
  return await inTransaction(db, async (tx) => {
    await lockEndpoint(tx, id)
    const replayed = await replayEvents(tx, id, what, { now, room: mostWaiting })
    if ('eventId' in ask && replayed === 0) await assertKnownEvent(tx, ask.eventId)
    await audit(tx, 'webhook.replay', id, { ...ask, replayed }, { ...by, now })
    return replayed
  })
}

function spanOf({ from, until }: { from: string; until?: string | undefined }, now: Date) {
  // What happened in this very millisecond too.
  const end = until === undefined ? new Date(now.getTime() + 1) : new Date(until)
  return { from: new Date(from), until: end }
}

async function assertKnownEvent(tx: Tx, id: string): Promise<void> {
  const row = await tx
    .selectFrom('outbox_event')
    .select('id')
    .where('id', '=', id)
    .executeTakeFirst()
  if (!row) {
    throw new DomainError('not-found', 'No such event, or it is no longer kept', { eventId: id })
  }
}

/** The keys that sign now: the secret, and during a rotation the one before. */
export function signingKeys(kek: Buffer, endpoint: Endpoint, now: Date): Buffer[] {
  const { id, secret, previous_secret: previous, previous_until: until } = endpoint
  const sealed = previous !== null && until !== null && until > now ? [secret, previous] : [secret]
  return sealed.map((one) => unwrapKey(kek, one, context(id)))
}

/** Seals all secrets with another key-encryption key, in the caller's transaction. Returns how many endpoints there are. */
export async function rewrapEndpointSecrets(tx: Tx, from: Buffer, to: Buffer): Promise<number> {
  const rows = await lockSecrets(tx)
  for (const { id, secret, previous_secret: previous } of rows) {
    const rewrap = (sealed: Buffer) =>
      wrapKey(to, unwrapKey(from, sealed, context(id)), context(id))
    await updateEndpoint(tx, id, {
      secret: rewrap(secret),
      previous_secret: previous && rewrap(previous),
    })
  }
  return rows.length
}

function allowedUrl({ privateWebhooks }: Deps['config'], text: string): string {
  return readWebhookUrl(text, { isPrivateAllowed: privateWebhooks, at: 'url' }).href
}

async function audit(
  tx: Tx,
  action: string,
  subject: string,
  facts: Record<string, unknown>,
  { now, ...by }: By & { now: Date },
): Promise<void> {
  await recordAudit(tx, { at: now, action, subject, facts, ...by })
}
