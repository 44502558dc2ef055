import { alertStates, mailStates } from '../../server/alerts/state.ts'
import { AlertView, ChannelView, MailView, RuleView } from '../../server/alerts/wire.ts'
import type { ApiClient } from '../api.ts'
import { collect } from '../collect.ts'
import type { Command, CommandInput, Noun, Option } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { isId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import type { Values } from '../values.ts'
import { groupIdsOf } from './role.ts'

const columns: Column<AlertView>[] = [
  { head: 'last', cell: (one) => one.lastAt },
  { head: 'severity', cell: (one) => one.severity },
  { head: 'kind', cell: (one) => one.kind },
  { head: 'count', cell: (one) => String(one.count) },
  { head: 'state', cell: (one) => one.state },
  { head: 'device', cell: (one) => one.deviceId },
  { head: 'rule', cell: (one) => one.rule },
  { head: 'id', cell: (one) => one.id },
]

const ruleColumns: Column<RuleView>[] = [
  { head: 'name', cell: (one) => (one.enabled ? one.name : `${one.name} (off)`) },
  { head: 'kinds', cell: (one) => one.kinds },
  { head: 'from', cell: (one) => one.minSeverity },
  { head: 'when', cell: (one) => `${one.threshold} in ${one.windowSeconds} s` },
  { head: 'one for each', cell: (one) => one.each },
  { head: 'channels', cell: (one) => String(one.channelIds.length) },
  { head: 'id', cell: (one) => one.id },
]

const channelColumns: Column<ChannelView>[] = [
  { head: 'name', cell: (one) => one.name },
  { head: 'kind', cell: (one) => one.kind },
  { head: 'to', cell: (one) => one.recipients?.join(', ') ?? one.endpointId },
  { head: 'id', cell: (one) => one.id },
]

const mailColumns: Column<MailView>[] = [
  { head: 'at', cell: (one) => one.createdAt },
  { head: 'state', cell: (one) => one.state },
  { head: 'attempts', cell: (one) => String(one.attempts) },
  { head: 'because', cell: (one) => one.lastError },
  { head: 'to', cell: (one) => one.recipients.join(', ') },
  { head: 'subject', cell: (one) => one.subject },
  { head: 'id', cell: (one) => one.id },
]

const limit: Option = { type: 'string', value: 'N', about: 'at most so many (50)' }

export const alertNoun: Noun = {
  noun: 'alert',
  summary: 'what deserves attention, and whom it is told',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Alerts, newest first',
      options: {
        state: { type: 'string', value: 'STATE', about: 'open, acknowledged or resolved' },
        severity: { type: 'string', value: 'LEVEL', about: 'info, warning or critical' },
        limit,
      },
      run: async ({ client, values, out }) => {
        const query = {
          state: values.oneOf('state', alertStates),
          severity: values.oneOf('severity', ['info', 'warning', 'critical']),
          atMost: values.number('limit') ?? 50,
        }
        out.rows(await collect((await client()).list(Page(AlertView), '/alerts', query)), columns)
      },
    },
    {
      verb: 'show',
      args: 'ALERT',
      summary: 'One alert, what it means and what to do',
      run: async ({ client, args: [id = ''], out }) =>
        show(out, await (await client()).get(AlertView, pathOf(id))),
    },
    action('acknowledge', 'Tell nobody of it again'),
    action('resolve', 'It is over; what comes later is another alert'),
    {
      verb: 'rules',
      args: '',
      summary: 'What makes an alert',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(RuleView), '/alert-rules')), ruleColumns),
    },
    {
      verb: 'create-rule',
      args: 'NAME',
      summary: 'Make a rule',
      options: {
        kinds: {
          type: 'string',
          value: 'KIND',
          about: 'a kind of event, or e.g. "mqtt-*" (needed)',
        },
        source: { type: 'string', value: 'SOURCE', about: 'server, device or any (any)' },
        severity: { type: 'string', value: 'LEVEL', about: 'at least so grave (warning)' },
        group: { type: 'string', multiple: true, value: 'GROUP', about: 'only of devices in it' },
        threshold: { type: 'string', value: 'N', about: 'so many make an alert (1)' },
        window: { type: 'string', value: 'SECONDS', about: 'within this time (3600)' },
        quiet: {
          type: 'string',
          value: 'SECONDS',
          about: 'tell again only after this time (14400)',
        },
        each: { type: 'string', value: 'WHAT', about: 'an alert for each kind, or device (kind)' },
        channel: { type: 'string', multiple: true, value: 'CHANNEL', about: 'where it is told' },
      },
      run: async ({ client, args: [name = ''], values, out }) => {
        const api = await client()
        const body = await ruleOf(api, name, values)
        out.rows([await api.create(RuleView, '/alert-rules', body)], ruleColumns)
      },
    },
    {
      verb: 'set-channels',
      args: 'RULE [CHANNEL…]',
      summary: 'Where a rule tells its alerts; no channel: nowhere',
      run: async ({ client, args: [rule = '', ...channels], out }) => {
        const api = await client()
        const found = await named(api.list(Page(RuleView), '/alert-rules'), rule, 'rule')
        const channelIds = await channelIdsOf(api, channels)
        const { id, createdBy: _by, createdAt: _at, changedAt: _changed, ...body } = found
        const set = { ...body, channelIds }
        out.rows([await api.replace(RuleView, `/alert-rules/${id}`, set)], ruleColumns)
      },
    },
    {
      verb: 'delete-rule',
      args: 'RULE',
      summary: 'Remove a rule, with its alerts',
      run: async ({ client, args: [rule = ''], out }) => {
        const api = await client()
        const { id } = await named(api.list(Page(RuleView), '/alert-rules'), rule, 'rule')
        await api.delete(`/alert-rules/${id}`)
        out.say('deleted')
      },
    },
    {
      verb: 'channels',
      args: '',
      summary: 'Where alerts can be told',
      run: async ({ client, out }) =>
        out.rows(
          await collect((await client()).list(Page(ChannelView), '/alert-channels')),
          channelColumns,
        ),
    },
    {
      verb: 'create-channel',
      args: 'NAME',
      summary: 'Name a webhook, or people with mail addresses',
      options: {
        webhook: { type: 'string', value: 'ID', about: 'an address (fleetseal webhook list)' },
        mail: { type: 'string', multiple: true, value: 'ADDRESS', about: 'of somebody' },
      },
      run: async ({ client, args: [name], values, out }) => {
        const endpointId = values.text('webhook')
        const recipients = values.texts('mail')
        if ((endpointId === undefined) === (recipients.length === 0)) {
          throw usageError('Say either --webhook ID or --mail ADDRESS')
        }
        const where =
          endpointId === undefined ? { kind: 'email', recipients } : { kind: 'webhook', endpointId }
        const body = { name, ...where }
        const made = await (await client()).create(ChannelView, '/alert-channels', body)
        out.rows([made], channelColumns)
      },
    },
    {
      verb: 'test-channel',
      args: 'CHANNEL',
      summary: 'Send something that says it is a test',
      run: async ({ client, args, out }) => {
        const api = await client()
        const [id] = await channelIdsOf(api, args)
        const path = `/alert-channels/${id}/actions` as const
        out.rows([await api.act(ChannelView, path, { action: 'test' })], channelColumns)
      },
    },
    {
      verb: 'delete-channel',
      args: 'CHANNEL',
      summary: 'Remove a channel',
      run: async ({ client, args, out }) => {
        const api = await client()
        const [id] = await channelIdsOf(api, args)
        await api.delete(`/alert-channels/${id}`)
        out.say('deleted')
      },
    },
    {
      verb: 'mails',
      args: '',
      summary: 'Mails about alerts; --state dead: those that were given up',
      options: {
        state: { type: 'string', value: 'STATE', about: 'pending, delivered or dead' },
        limit,
      },
      run: async ({ client, values, out }) => {
        const query = {
          state: values.oneOf('state', mailStates),
          atMost: values.number('limit') ?? 50,
        }
        const api = await client()
        out.rows(await collect(api.list(Page(MailView), '/alert-mails', query)), mailColumns)
      },
    },
    {
      verb: 'retry-mail',
      args: 'MAIL',
      summary: 'Send a mail again that was given up',
      run: async ({ client, args: [id = ''], out }) => {
        const path = `/alert-mails/${encodeURIComponent(id)}/actions` as const
        out.rows([await (await client()).act(MailView, path, { action: 'retry' })], mailColumns)
      },
    },
  ],
}

function action(verb: 'acknowledge' | 'resolve', summary: string): Command {
  return {
    verb,
    args: 'ALERT',
    summary,
    options: { note: { type: 'string', value: 'TEXT', about: 'what was found' } },
    run: async ({ client, args: [id = ''], values, out }) => {
      const body = { action: verb, note: values.text('note') }
      show(out, await (await client()).act(AlertView, `${pathOf(id)}/actions`, body))
    },
  }
}

function pathOf(id: string) {
  return `/alerts/${encodeURIComponent(id)}` as const
}

async function ruleOf(api: ApiClient, name: string, values: Values) {
  return {
    name,
    kinds: values.needed('kinds'),
    source: values.oneOf('source', ['server', 'device', 'any']),
    minSeverity: values.oneOf('severity', ['info', 'warning', 'critical']),
    groupIds: await groupIdsOf(api, values),
    threshold: values.number('threshold'),
    windowSeconds: values.number('window'),
    quietSeconds: values.number('quiet'),
    each: values.oneOf('each', ['kind', 'device']),
    channelIds: await channelIdsOf(api, values.texts('channel')),
  }
}

async function channelIdsOf(api: ApiClient, given: readonly string[]): Promise<string[]> {
  const ids: string[] = []
  for (const one of given) {
    const list = api.list(Page(ChannelView), '/alert-channels')
    ids.push((await named(list, one, 'channel')).id)
  }
  return ids
}

async function named<T extends { id: string; name: string }>(
  list: AsyncIterable<T>,
  given: string,
  what: 'rule' | 'channel',
): Promise<T> {
  for await (const one of list) {
    if (isId(given) ? one.id === given.toLowerCase() : one.name === given) return one
  }
  throw new Failure('not-found', `There is no ${what} ${given}`, {
    nextStep: `fleetseal alert ${what}s`,
  })
}

function show(out: CommandInput['out'], view: AlertView): void {
  out.fields(view, (one) => [
    ['kind', one.kind],
    ['means', one.means],
    ['what to do', one.todo],
    ['severity', one.severity],
    ['state', one.state],
    ['count', String(one.count)],
    ['first', one.firstAt],
    ['last', one.lastAt],
    ['device', one.deviceId],
    ['rule', one.rule],
    ['told', one.toldAt],
    ['acknowledged', one.acknowledgedBy],
    ['resolved', one.resolvedBy],
    ['note', one.note],
    ['id', one.id],
  ])
}
