import { eventTypes } from '../../server/outbox/wire.ts'
import { deliveryStates } from '../../server/webhooks/state.ts'
import {
  DeliveryView,
  EndpointSecretView,
  EndpointView,
  ReplayView,
} from '../../server/webhooks/wire.ts'
import { collect } from '../collect.ts'
import type { Command, CommandInput, Noun, Option } from '../command.ts'
import { Failure, usageError } from '../failure.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import type { Values } from '../values.ts'
import { groupIdsOf } from './role.ts'

const columns: Column<EndpointView>[] = [
  { head: 'url', cell: (one) => one.url },
  { head: 'state', cell: (one) => (one.failingSince === null ? one.state : 'failing') },
  { head: 'waiting', cell: (one) => String(one.waiting) },
  { head: 'dead letters', cell: (one) => String(one.deadLetters) },
  { head: 'types', cell: (one) => one.types.join(', ') },
  { head: 'id', cell: (one) => one.id },
]

const deliveryColumns: Column<DeliveryView>[] = [
  { head: 'at', cell: (one) => one.at },
  { head: 'type', cell: (one) => one.type },
  { head: 'state', cell: (one) => one.state },
  { head: 'attempts', cell: (one) => String(one.attempts) },
  { head: 'because', cell: (one) => one.lastError },
  { head: 'next', cell: (one) => one.dueAt },
  { head: 'device', cell: (one) => one.deviceId },
  { head: 'event', cell: (one) => one.eventId },
]

const fields: Record<string, Option> = {
  type: {
    type: 'string',
    multiple: true,
    value: 'TYPE',
    about: 'what it hears of, each with a --type of its own; "all" for everything',
  },
  group: {
    type: 'string',
    multiple: true,
    value: 'GROUP',
    about: 'only of devices that are in this group, and in each one given',
  },
  description: { type: 'string', value: 'TEXT', about: 'what it is for' },
}

export const webhookNoun: Noun = {
  noun: 'webhook',
  summary: 'addresses that are told what happens',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'All addresses, and what waits for each',
      run: async ({ client, out }) =>
        out.rows(await collect((await client()).list(Page(EndpointView), '/webhooks')), columns),
    },
    {
      verb: 'create',
      args: 'URL',
      summary: 'Have events sent to an address; its secret is shown once',
      options: fields,
      run: async ({ client, args: [url], values, out }) => {
        const types = typesOf(values)
        if (types.length === 0) throw usageError('--type is missing: say what it hears of')
        const api = await client()
        const body = {
          url,
          types,
          groupIds: await groupIdsOf(api, values),
          description: values.text('description'),
        }
        showSecret(out, await api.create(EndpointSecretView, '/webhooks', body))
      },
    },
    {
      verb: 'show',
      args: 'ID',
      summary: 'One address',
      run: async ({ client, args: [id = ''], out }) =>
        show(out, await (await client()).get(EndpointView, pathOf(id))),
    },
    {
      verb: 'change',
      args: 'ID',
      summary: 'Change where events go, or which',
      options: { url: { type: 'string', value: 'URL', about: 'where they go' }, ...fields },
      run: async ({ client, args: [id = ''], values, out }) => {
        const types = typesOf(values)
        const groups = values.texts('group')
        const api = await client()
        const body = {
          url: values.text('url'),
          description: values.text('description'),
          types: types.length > 0 ? types : undefined,
          groupIds: groups.length > 0 ? await groupIdsOf(api, values) : undefined,
        }
        show(out, await api.patch(EndpointView, pathOf(id), body))
      },
    },
    action('enable', 'Send again; what waits is sent first'),
    action('disable', 'Send nothing until it is enabled'),
    action('test', 'Send an event that says it is a test'),
    {
      ...action('rotate-secret', 'Replace the secret; the one before signs too for a while'),
      options: { overlap: { type: 'string', value: 'HOURS', about: 'for how long (24)' } },
    },
    {
      verb: 'delete',
      args: 'ID',
      summary: 'Send nothing there any more; what waits is dropped',
      run: async ({ client, args: [id = ''], out }) => {
        await (await client()).delete(pathOf(id))
        out.say('deleted')
      },
    },
    {
      verb: 'deliveries',
      args: 'ID',
      summary: 'What was sent, waits or could not be delivered, newest first',
      options: {
        state: { type: 'string', value: 'STATE', about: 'pending, delivered or dead' },
        limit: { type: 'string', value: 'N', about: 'at most so many (50)' },
      },
      run: async ({ client, args: [id = ''], values, out }) => {
        const query = {
          state: values.oneOf('state', deliveryStates),
          atMost: values.number('limit') ?? 50,
        }
        const api = await client()
        const path = `${pathOf(id)}/deliveries` as const
        out.rows(await collect(api.list(Page(DeliveryView), path, query)), deliveryColumns)
      },
    },
    {
      verb: 'replay',
      args: 'ID',
      summary: 'Send again: --event, --dead-letters, or what happened --from … --until',
      options: {
        event: { type: 'string', value: 'EVENT', about: 'this one' },
        'dead-letters': { type: 'boolean', about: 'what could not be delivered' },
        from: { type: 'string', value: 'TIME', about: 'what happened since then' },
        until: { type: 'string', value: 'TIME', about: 'and before then' },
      },
      run: async ({ client, args: [id = ''], values, out, world }) => {
        const body = replayOf(values, world.now())
        const answer = await (await client()).act(ReplayView, `${pathOf(id)}/replays`, body)
        out.answer(answer, ({ replayed }) => `${replayed} will be sent again`)
      },
    },
  ],
}

function action(verb: 'enable' | 'disable' | 'test' | 'rotate-secret', summary: string): Command {
  return {
    verb,
    args: 'ID',
    summary,
    run: async ({ client, args: [id = ''], values, out }) => {
      const body = { action: verb, overlapHours: values.number('overlap') }
      const answer = await (await client()).act(EndpointSecretView, `${pathOf(id)}/actions`, body)
      if (answer.secret === null) show(out, answer)
      else showSecret(out, answer)
    },
  }
}

function pathOf(id: string) {
  return `/webhooks/${encodeURIComponent(id)}` as const
}

function typesOf(values: Values): string[] {
  const given = values.texts('type')
  // Rows of the audit log are many: they have to be asked for by name.
  return given.flatMap((type) =>
    type === 'all' ? eventTypes.filter((each) => each !== 'audit.recorded') : [type],
  )
}

function replayOf(values: Values, now: Date) {
  const eventId = values.text('event')
  const isDead = values.flag('dead-letters')
  const from = values.instant('from', now)
  const ways = [eventId !== undefined, isDead, from !== undefined].filter(Boolean)
  if (ways.length !== 1) throw usageError('Say one of --event, --dead-letters and --from')
  if (eventId !== undefined) return { eventId }
  return isDead ? { deadLetters: true } : { from, until: values.instant('until', now) }
}

function showSecret(out: CommandInput['out'], made: EndpointSecretView): void {
  if (made.secret === null) {
    throw new Failure('conflict', 'It was made before, and its secret is not shown again', {
      nextStep: `fleetseal webhook rotate-secret ${made.id}`,
    })
  }
  out.answer(made, ({ id, secret }) => `${id}\n${secret}`)
}

function show(out: CommandInput['out'], view: EndpointView): void {
  out.fields(view, (one) => [
    ['url', one.url],
    ['for', one.description || null],
    ['state', one.disabledBecause === null ? one.state : `disabled: ${one.disabledBecause}`],
    ['types', one.types.join(', ')],
    ['groups', one.groupIds.join(' and ') || 'all'],
    ['waiting', String(one.waiting)],
    ['dead letters', String(one.deadLetters)],
    ['missed', one.missed === 0 ? null : String(one.missed)],
    ['failing since', one.failingSince],
    ['next attempt', one.retryAt],
    ['both secrets until', one.previousUntil],
    ['id', one.id],
  ])
}
