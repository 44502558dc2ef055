import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { enqueue } from '../outbox/outbox.ts'
import { assertVersion, type Versions } from '../version.ts'
import { retryMail } from './mail-store.ts'
import { testMail } from './mail-text.ts'
import { type AlertAction, nextAlertState } from './state.ts'
import {
  type AlertDetails,
  type Channel,
  deleteChannel,
  deleteRule,
  getAlert,
  getChannel,
  insertChannel,
  insertRule,
  lockRule,
  moveAlert,
  type Rule,
  ruleNamed,
  updateRule,
} from './store.ts'
import { insertMails } from './tell-store.ts'
import type { ChannelBody, RuleBody } from './wire.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'config'>

export interface By {
  actor: string
  requestId?: string
}

interface ByOfSeen extends By {
  /** What it has to be now; whatever it is when undefined. */
  ifMatch?: Versions | undefined
}

/** @throws DomainError `not-found`, `illegal-transition`, `conflict` when it changed meanwhile */
export async function actOnAlert(
  { db, clock }: Deps,
  { id, action, note }: { id: string; action: AlertAction; note?: string | undefined },
  by: By,
): Promise<AlertDetails> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const before = await getAlert(tx, id)
    const state = nextAlertState(before.state, action)
    const isMoved = await moveAlert(tx, before, {
      state,
      ...(note === undefined ? {} : { note }),
      ...(state === 'resolved'
        ? { resolved_by: by.actor, resolved_at: now }
        : { acknowledged_by: by.actor, acknowledged_at: now }),
    })
    if (!isMoved) throw new DomainError('conflict', 'The alert changed meanwhile')
    await audit(tx, `alert.${action}`, id, { kind: before.kind, note: note ?? null }, by, now)
    return await getAlert(tx, id)
  })
}

/** The same id again changes nothing. @throws DomainError `conflict` for a name that is taken, `not-found` for a channel */
export async function createRule(
  { db, clock }: Deps,
  id: string,
  body: RuleBody,
  by: By,
): Promise<Rule> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    await requireChannels(tx, body.channelIds)
    const row = { ...columnsOf(body), id, created_by: by.actor, created_at: now, changed_at: now }
    if (await insertRule(tx, row)) await audit(tx, 'alert-rule.create', id, { ...body }, by, now)
    else if ((await ruleNamed(tx, body.name)) !== id) throw nameTaken(body.name)
    return await lockRule(tx, id)
  })
}

/** @throws DomainError `not-found`, `precondition-failed`, `conflict` for a name that is taken */
export async function changeRule(
  { db, clock }: Deps,
  id: string,
  body: RuleBody,
  { ifMatch, ...by }: ByOfSeen,
): Promise<Rule> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const before = await lockRule(tx, id)
    assertVersion(String(before.version), ifMatch)
    await requireChannels(tx, body.channelIds)
    if (![undefined, id].includes(await ruleNamed(tx, body.name))) throw nameTaken(body.name)
    await updateRule(tx, id, { ...columnsOf(body), changed_at: now })
    await audit(tx, 'alert-rule.change', id, { before: { ...before }, after: { ...body } }, by, now)
    return await lockRule(tx, id)
  })
}

/** @throws DomainError `not-found`, `precondition-failed` */
export async function removeRule(
  { db, clock }: Deps,
  id: string,
  { ifMatch, ...by }: ByOfSeen,
): Promise<void> {
  await inTransaction(db, async (tx) => {
    const { name, version } = await lockRule(tx, id)
    assertVersion(String(version), ifMatch)
    await deleteRule(tx, id)
    await audit(tx, 'alert-rule.delete', id, { name }, by, clock.now())
  })
}

/** @throws DomainError `conflict` for a name that is taken; `not-ready` for mail without a server for it; `not-found` for a webhook */
export async function createChannel(
  { db, clock, config }: Deps,
  id: string,
  body: ChannelBody,
  by: By,
): Promise<Channel> {
  if (body.kind === 'email' && !config.smtp) {
    throw new DomainError(
      'not-ready',
      'The server has no mail server: set FLEETSEAL_SMTP_URL first',
    )
  }
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const endpointId = body.kind === 'webhook' ? body.endpointId : null
    if (endpointId !== null) await requireEndpoint(tx, endpointId)
    const recipients = body.kind === 'email' ? body.recipients : null
    const of = { name: body.name, kind: body.kind, endpoint_id: endpointId, recipients }
    if (await insertChannel(tx, { ...of, id, created_by: by.actor, created_at: now })) {
      await audit(tx, 'alert-channel.create', id, { ...body }, by, now)
    }
    return await getChannel(tx, id).catch(() => {
      throw nameTaken(body.name)
    })
  })
}

/** @throws DomainError `not-found` */
export async function removeChannel({ db, clock }: Deps, id: string, by: By): Promise<void> {
  await inTransaction(db, async (tx) => {
    const { name } = await getChannel(tx, id)
    await deleteChannel(tx, id)
    await audit(tx, 'alert-channel.delete', id, { name }, by, clock.now())
  })
}

/** Sends something by a channel that says it is a test. @throws DomainError `not-found` */
export async function testChannel({ db, clock }: Deps, id: string, by: By): Promise<Channel> {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const channel = await getChannel(tx, id)
    const { endpoint_id: endpointId, recipients } = channel
    if (endpointId !== null) {
      const subject = `${id} ${now.getTime()}`
      const data = { sentBy: by.actor }
      await enqueue(tx, { type: 'webhook.test', at: now, subject, data, endpointId })
    } else if (recipients !== null) {
      const mail = { id: newId(now), channelId: id, alertId: null, recipients }
      await insertMails(tx, [{ ...mail, ...testMail(by.actor) }], now)
    }
    await audit(tx, 'alert-channel.test', id, { name: channel.name }, by, now)
    return channel
  })
}

/** @throws DomainError `not-found`; `conflict` for one that is not a dead letter */
export async function sendMailAgain({ db, clock }: Deps, id: string, by: By) {
  const now = clock.now()
  return await inTransaction(db, async (tx) => {
    const mail = await retryMail(tx, id, now)
    await audit(tx, 'alert-mail.retry', id, { subject: mail.subject }, by, now)
    return mail
  })
}

function columnsOf(body: RuleBody) {
  return {
    name: body.name,
    kinds: body.kinds,
    source: body.source,
    min_severity: body.minSeverity,
    group_ids: [...new Set(body.groupIds)],
    threshold: body.threshold,
    window_seconds: body.windowSeconds,
    quiet_seconds: body.quietSeconds,
    each: body.each,
    channel_ids: [...new Set(body.channelIds)],
    enabled: body.enabled,
  }
}

async function requireChannels(tx: Tx, ids: readonly string[]): Promise<void> {
  for (const id of ids) await getChannel(tx, id)
}

async function requireEndpoint(tx: Tx, id: string): Promise<void> {
  const row = await tx
    .selectFrom('webhook_endpoint')
    .select('id')
    .where('id', '=', id)
    .executeTakeFirst()
  if (!row) throw new DomainError('not-found', 'No such webhook', { endpointId: id })
}

function nameTaken(name: string): DomainError {
  return new DomainError('conflict', 'The name is taken: choose another', { name })
}

async function audit(
  tx: Tx,
  action: string,
  subject: string,
  facts: Record<string, unknown>,
  by: By,
  at: Date,
): Promise<void> {
  await recordAudit(tx, { at, action, subject, facts, ...by })
}
