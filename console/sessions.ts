import type { SessionView } from '../server/people/wire.ts'
import { call } from './api.ts'
import { moment } from './devices.ts'
import { announce, type Child, fill, h } from './dom.ts'
import { action, loaded } from './form.ts'
import { browserName } from './format.ts'
import type { Listing, Self } from './types.ts'

/** Where somebody is signed in, each with a way to end it. */
export function sessionsCard(self: Self): Child {
  const place = h('div', {})
  const show = () =>
    fill(
      place,
      loaded(
        async () => await call<Listing<SessionView>>('GET', '/self/sessions?limit=50'),
        ({ items }) => [
          h(
            'ul',
            { class: 'plain-list' },
            items.map((session) => line(session, self, show)),
          ),
          items.length > 1 &&
            action({
              label: 'End all other sessions',
              run: async () => {
                await call('DELETE', '/self/sessions')
                announce('Ended')
                show()
              },
            }),
        ],
      ),
    )
  show()
  return h('section', { class: 'card wide' }, h('h2', {}, 'Where you are signed in'), place)
}

function line(session: SessionView, self: Self, again: () => void): Child {
  const isThis = session.id === self.session.id
  return h(
    'li',
    { class: 'between' },
    h(
      'span',
      {},
      h('strong', {}, browserName(session.userAgent)),
      isThis && h('span', { class: 'badge good' }, 'this one'),
      h(
        'span',
        { class: 'small muted block' },
        session.address,
        ' · signed in ',
        moment(session.createdAt),
        ' · used ',
        moment(session.lastSeenAt),
      ),
    ),
    !isThis &&
      action({
        label: 'End',
        title: `End the session of ${browserName(session.userAgent)} from ${session.address}`,
        run: async () => {
          await call('DELETE', `/self/sessions/${session.id}`)
          announce('Ended')
          again()
        },
      }),
  )
}
