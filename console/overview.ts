import type { SummaryView } from '../server/devices/summary-wire.ts'
import type { EventView } from '../server/events/wire.ts'
import type { OperatorView } from '../server/operators/wire.ts'
import type { RolloutView } from '../server/rollouts/wire.ts'
import { call } from './api.ts'
import { type Child, h } from './dom.ts'
import { loaded } from './form.ts'
import { ago, at, count, words } from './format.ts'
import type { Listing, Self } from './types.ts'

/** The fleet at a glance. */
export function overviewPage(self: Self): Child {
  return h(
    'div',
    { class: 'grid' },
    part('Devices', 'wide', devices()),
    part('Running rollouts', '', rollouts()),
    part('Security events', '', events()),
    part('You', 'wide', you(self)),
  )
}

function part(title: string, kind: string, content: Child): Child {
  return h('section', { class: `card ${kind}` }, h('h2', {}, title), content)
}

const states = ['active', 'registered', 'disabled', 'revoked', 'retired'] as const

function devices(): Child {
  return loaded(
    async () => await call<SummaryView>('GET', '/devices/summary'),
    ({ total, connected, byState }) => {
      if (total === 0) return h('p', { class: 'muted' }, 'There are no devices yet.')
      const bars = states
        .filter((state) => byState[state] > 0)
        .map((state) =>
          h('span', { class: `bar-part ${state}`, 'data-share': share(byState[state], total) }),
        )
      return [
        h(
          'p',
          { class: 'figure' },
          h('strong', {}, count(total)),
          ` ${total === 1 ? 'device' : 'devices'}, `,
          h('strong', {}, count(connected)),
          ' connected now',
        ),
        h('div', { class: 'state-bar', 'aria-hidden': 'true' }, bars),
        h(
          'ul',
          { class: 'tiles' },
          states.map((state) =>
            h(
              'li',
              {},
              h(
                'a',
                { href: `#/devices?state=${state}` },
                h('span', { class: `dot ${state}`, 'aria-hidden': 'true' }),
                h('span', { class: 'tile-name' }, words(state)),
                h('strong', {}, count(byState[state])),
              ),
            ),
          ),
        ),
      ]
    },
  )
}

/** In twentieths, as the style sheet has them: an inline style is refused. Never nothing. */
function share(part: number, total: number): number {
  return Math.max(1, Math.round((part / total) * 20))
}

function rollouts(): Child {
  return loaded(
    async () => await call<Listing<RolloutView>>('GET', '/rollouts?state=running&limit=5'),
    ({ items }) =>
      items.length === 0
        ? h('p', { class: 'muted' }, 'Nothing is being rolled out.')
        : h('ul', { class: 'plain-list' }, items.map(rollout)),
  )
}

function rollout(one: RolloutView): Child {
  const open = one.phases.filter(({ openedAt }) => openedAt !== null).length
  return h(
    'li',
    {},
    h(
      'div',
      { class: 'between' },
      h('strong', {}, one.name),
      h('span', { class: 'muted' }, `phase ${open} of ${one.phases.length}`),
    ),
    h('progress', {
      max: Math.max(1, one.executed),
      value: one.succeeded,
      'aria-label': `${one.name}: installed on ${one.succeeded} of ${one.executed} devices that tried`,
    }),
    h(
      'p',
      { class: 'small' },
      `${count(one.succeeded)} installed`,
      one.failed > 0 && h('span', { class: 'bad-text' }, `, ${count(one.failed)} failed`),
      one.waitsFor !== null &&
        h('span', { class: 'muted' }, `, waits for ${words(one.waitsFor).toLowerCase()}`),
    ),
  )
}

function events(): Child {
  return loaded(
    async () => await call<Listing<EventView>>('GET', '/events?limit=8'),
    ({ items }) =>
      items.length === 0
        ? h('p', { class: 'muted' }, 'Nothing was noticed.')
        : h(
            'ul',
            { class: 'plain-list events' },
            items.map((event) => eventLine(event)),
          ),
  )
}

/** One security event in a line. */
export function eventLine(event: EventView): Child {
  const { name } = event.facts
  return h(
    'li',
    {},
    h('span', { class: `badge ${event.severity}` }, event.severity),
    h(
      'span',
      { class: 'event-text' },
      h('span', {}, words(event.kind)),
      typeof name === 'string' && h('span', { class: 'muted' }, ` · ${name}`),
      event.deviceId !== null && [' · ', h('a', { href: `#/devices/${event.deviceId}` }, 'device')],
    ),
    h(
      'time',
      { datetime: event.at, title: at(event.at), class: 'muted' },
      ago(event.at, Date.now()),
    ),
  )
}

function you(self: Self): Child {
  const { credentials } = self
  const isThin =
    credentials?.hasPassword === true &&
    credentials.recoveryCodesLeft < 3 &&
    credentials.passkeys.length < 2
  return [
    isThin &&
      h(
        'p',
        { class: 'notice' },
        `You have ${credentials.recoveryCodesLeft} recovery codes left. `,
        h('a', { href: '#/account' }, 'Make new ones'),
        ' before you need them.',
      ),
    loaded(
      async () => await call<OperatorView>('GET', '/operators/me'),
      ({ grants }) =>
        h(
          'dl',
          { class: 'facts' },
          h('dt', {}, 'Name'),
          h('dd', {}, self.person.name),
          h('dt', {}, 'E-mail address'),
          h('dd', {}, self.person.email ?? '–'),
          h('dt', {}, 'Roles'),
          h(
            'dd',
            {},
            grants.length === 0
              ? 'None: an administrator has to give you one'
              : grants.map(({ role, groupIds }) =>
                  h(
                    'span',
                    { class: 'badge' },
                    groupIds.length === 0 ? role : `${role}, in ${groupIds.length} groups`,
                  ),
                ),
          ),
        ),
    ),
  ]
}
