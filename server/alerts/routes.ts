import { z } from 'zod'

import { meaningOf } from '../events/catalogue.ts'
import type { Actor } from '../http/access.ts'
import { Page, pageOf, PageQuery } from '../http/page.ts'
import { route } from '../http/route.ts'
import {
  actOnAlert,
  changeRule,
  createChannel,
  createRule,
  removeChannel,
  removeRule,
  sendMailAgain,
  testChannel,
} from './service.ts'
import {
  type AlertDetails,
  type Channel,
  getAlert,
  listAlerts,
  listChannels,
  listMails,
  listRules,
  type Mail,
  type Rule,
} from './store.ts'
import {
  AlertActionBody,
  alertFilter,
  AlertParams,
  AlertView,
  ChannelActionBody,
  ChannelBody,
  ChannelParams,
  ChannelView,
  MailActionBody,
  mailFilter,
  MailParams,
  MailView,
  RuleBody,
  RuleParams,
  RuleView,
} from './wire.ts'

const by = (actor: Actor) => ({ actor: actor.id, requestId: actor.requestId })
const idOf = (row: { id: string }) => row.id

export const alertRoutes = [
  route({
    method: 'get',
    path: '/alerts',
    summary: 'What deserves attention, newest first',
    permission: 'alerts:read',
    scope: 'fleet',
    query: z.strictObject({ ...PageQuery.shape, ...alertFilter }),
    response: Page(AlertView),
    handle: async ({ ctx, query: { cursor, limit, ...filter } }) => {
      const rows = await listAlerts(ctx.db, { ...filter, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, view, idOf)
    },
  }),

  route({
    method: 'get',
    path: '/alerts/:alertId',
    summary: 'One alert, what it means and what to do',
    permission: 'alerts:read',
    scope: 'fleet',
    params: AlertParams,
    response: AlertView,
    handle: async ({ ctx, params }) => view(await getAlert(ctx.db, params.alertId)),
  }),

  route({
    method: 'post',
    path: '/alerts/:alertId/actions',
    summary: 'Acknowledge an alert, so that nobody is told again, or resolve it',
    permission: 'alerts:handle',
    scope: 'fleet',
    refuses: ['illegal-transition'],
    params: AlertParams,
    body: AlertActionBody,
    response: AlertView,
    handle: async ({ ctx, params, body, actor }) =>
      view(await actOnAlert(ctx, { id: params.alertId, ...body }, by(actor))),
  }),

  route({
    method: 'get',
    path: '/alert-rules',
    summary: 'What makes an alert, newest first',
    permission: 'alerts:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(RuleView),
    handle: async ({ ctx, query: { limit, cursor } }) =>
      pageOf(await listRules(ctx.db, { before: cursor, limit: limit + 1 }), limit, ruleView, idOf),
  }),

  route({
    method: 'post',
    path: '/alert-rules',
    summary: 'Make a rule',
    permission: 'alerts:manage',
    scope: 'fleet',
    refuses: ['not-found', 'quota-exhausted'],
    status: 201,
    creates: true,
    versioned: 'version',
    body: RuleBody,
    response: RuleView,
    handle: async ({ ctx, body, actor, newId }) =>
      ruleView(await createRule(ctx, newId, body, by(actor))),
  }),

  route({
    method: 'put',
    path: '/alert-rules/:ruleId',
    summary: 'Put another rule in its place; its alerts stay',
    permission: 'alerts:manage',
    scope: 'fleet',
    versioned: 'version',
    params: RuleParams,
    body: RuleBody,
    response: RuleView,
    handle: async ({ ctx, params, body, actor, ifMatch }) =>
      ruleView(await changeRule(ctx, params.ruleId, body, { ifMatch, ...by(actor) })),
  }),

  route({
    method: 'delete',
    path: '/alert-rules/:ruleId',
    summary: 'Remove a rule, with its alerts',
    permission: 'alerts:manage',
    scope: 'fleet',
    status: 204,
    versioned: 'version',
    params: RuleParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor, ifMatch }) => {
      await removeRule(ctx, params.ruleId, { ifMatch, ...by(actor) })
      return undefined
    },
  }),

  route({
    method: 'get',
    path: '/alert-channels',
    summary: 'Where alerts are told, newest first',
    permission: 'webhooks:read',
    scope: 'fleet',
    query: PageQuery,
    response: Page(ChannelView),
    handle: async ({ ctx, query: { limit, cursor } }) => {
      const rows = await listChannels(ctx.db, { before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, channelView, idOf)
    },
  }),

  route({
    method: 'post',
    path: '/alert-channels',
    summary: 'Name a webhook, or people with mail addresses, that alerts can be told to',
    permission: 'alerts:manage',
    scope: 'fleet',
    refuses: ['not-found', 'not-ready', 'quota-exhausted'],
    status: 201,
    creates: true,
    body: ChannelBody,
    response: ChannelView,
    handle: async ({ ctx, body, actor, newId }) =>
      channelView(await createChannel(ctx, newId, body, by(actor))),
  }),

  route({
    method: 'delete',
    path: '/alert-channels/:channelId',
    summary: 'Remove a channel; rules tell it nothing any more',
    permission: 'alerts:manage',
    scope: 'fleet',
    status: 204,
    params: ChannelParams,
    response: z.undefined(),
    handle: async ({ ctx, params, actor }) => {
      await removeChannel(ctx, params.channelId, by(actor))
      return undefined
    },
  }),

  route({
    method: 'post',
    path: '/alert-channels/:channelId/actions',
    summary: 'Send something by a channel that says it is a test',
    permission: 'alerts:manage',
    scope: 'fleet',
    params: ChannelParams,
    body: ChannelActionBody,
    response: ChannelView,
    handle: async ({ ctx, params, actor }) =>
      channelView(await testChannel(ctx, params.channelId, by(actor))),
  }),

  route({
    method: 'get',
    path: '/alert-mails',
    summary: 'Mails about alerts: sent, waiting, or given up (state "dead"), newest first',
    permission: 'webhooks:read',
    scope: 'fleet',
    query: z.strictObject({ ...PageQuery.shape, ...mailFilter }),
    response: Page(MailView),
    handle: async ({ ctx, query: { limit, cursor, state } }) => {
      const rows = await listMails(ctx.db, { state, before: cursor, limit: limit + 1 })
      return pageOf(rows, limit, mailView, idOf)
    },
  }),

  route({
    method: 'post',
    path: '/alert-mails/:mailId/actions',
    summary: 'Send a mail again that was given up',
    permission: 'alerts:manage',
    scope: 'fleet',
    params: MailParams,
    body: MailActionBody,
    response: MailView,
    handle: async ({ ctx, params, actor }) =>
      mailView(await sendMailAgain(ctx, params.mailId, by(actor))),
  }),
]

function view(row: AlertDetails): AlertView {
  const known = meaningOf(row.kind)
  return {
    id: row.id,
    ruleId: row.rule_id,
    rule: row.rule_name,
    kind: row.kind,
    severity: row.severity,
    deviceId: row.device_id,
    state: row.state,
    count: row.count,
    firstAt: row.first_at.toISOString(),
    lastAt: row.last_at.toISOString(),
    toldAt: row.told_at?.toISOString() ?? null,
    note: row.note,
    means: known?.means ?? null,
    todo: known?.todo ?? null,
    acknowledgedBy: row.acknowledged_by,
    acknowledgedAt: row.acknowledged_at?.toISOString() ?? null,
    resolvedBy: row.resolved_by,
    resolvedAt: row.resolved_at?.toISOString() ?? null,
  }
}

function ruleView(row: Rule): RuleView {
  return {
    id: row.id,
    name: row.name,
    kinds: row.kinds,
    source: row.source,
    minSeverity: row.min_severity,
    groupIds: row.group_ids,
    threshold: row.threshold,
    windowSeconds: row.window_seconds,
    quietSeconds: row.quiet_seconds,
    each: row.each,
    channelIds: row.channel_ids,
    enabled: row.enabled,
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
    changedAt: row.changed_at.toISOString(),
    version: row.version,
  }
}

function channelView(row: Channel): ChannelView {
  return {
    id: row.id,
    name: row.name,
    kind: row.kind,
    endpointId: row.endpoint_id,
    recipients: row.recipients,
    held: row.held,
    createdBy: row.created_by,
    createdAt: row.created_at.toISOString(),
  }
}

function mailView(row: Mail): MailView {
  return {
    id: row.id,
    channelId: row.channel_id,
    alertId: row.alert_id,
    recipients: row.recipients,
    subject: row.subject,
    state: row.state,
    attempts: row.attempts,
    dueAt: row.state === 'pending' ? row.due_at.toISOString() : null,
    lastError: row.last_error,
    createdAt: row.created_at.toISOString(),
    endedAt: row.ended_at?.toISOString() ?? null,
  }
}
