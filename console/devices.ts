import type { DeviceView } from '../server/devices/wire.ts'
import { call } from './api.ts'
import { announce, type Child, fill, h } from './dom.ts'
import { action, messageOf } from './form.ts'
import { ago, at } from './format.ts'
import type { Listing } from './types.ts'

const states = ['active', 'registered', 'disabled', 'revoked', 'retired'] as const
const pageSize = 25

/** All devices, with a search that also takes questions (docs/device-queries.md). */
export function devicesPage(path: string): Child {
  const asked = new URLSearchParams(path.split('?')[1] ?? '')
  const query = h('input', {
    id: 'device-query',
    type: 'search',
    name: 'query',
    maxlength: 2_000,
    spellcheck: 'false',
    placeholder: 'Name, serial number or a question',
    value: asked.get('query') ?? '',
    'aria-describedby': 'device-query-hint',
  })
  const state = h(
    'select',
    { id: 'device-state', name: 'state' },
    h('option', { value: '' }, 'Any state'),
    states.map((name) => h('option', { value: name, selected: asked.get('state') === name }, name)),
  )
  const results = h('div', { class: 'results' })
  const search = () => void showFirst(results, { query: query.value.trim(), state: state.value })
  const filter = h(
    'form',
    { class: 'filter', role: 'search' },
    h('div', { class: 'field grow' }, h('label', { for: 'device-query' }, 'Search'), query),
    h('div', { class: 'field' }, h('label', { for: 'device-state' }, 'State'), state),
    h('button', { type: 'submit', class: 'primary' }, 'Search'),
    h(
      'p',
      { class: 'hint', id: 'device-query-hint' },
      'Questions work too: ',
      h('code', {}, 'model = "cam-2" and lastSeen > 7d'),
    ),
  )
  filter.addEventListener('submit', (event) => {
    event.preventDefault()
    search()
  })
  state.addEventListener('change', search)
  search()
  return [h('section', { class: 'card' }, filter), results]
}

interface Question {
  query: string
  state: string
}

async function ask(question: Question, cursor?: string): Promise<Listing<DeviceView>> {
  const search = new URLSearchParams({ limit: String(pageSize) })
  if (question.query !== '') search.set('query', question.query)
  if (question.state !== '') search.set('state', question.state)
  if (cursor !== undefined) search.set('cursor', cursor)
  return await call<Listing<DeviceView>>('GET', `/devices?${search.toString()}`)
}

const newest = new WeakMap<Element, object>()

async function showFirst(results: HTMLElement, question: Question): Promise<void> {
  const turn = {}
  newest.set(results, turn)
  results.setAttribute('aria-busy', 'true')
  try {
    const page = await ask(question)
    // A slow answer to an older question.
    if (newest.get(results) !== turn) return
    const body = h('tbody', {}, page.items.map(row))
    const more = h('div', { class: 'center' })
    fill(results, page.items.length === 0 ? none(question) : [table(body), more])
    moreButton(more, { body, question, cursor: page.nextCursor })
    announce(page.items.length === 0 ? 'No devices' : `${page.items.length} devices shown`)
  } catch (error) {
    if (newest.get(results) !== turn) return
    fill(results, h('div', { class: 'notice bad', role: 'alert' }, messageOf(error)))
  } finally {
    if (newest.get(results) === turn) results.removeAttribute('aria-busy')
  }
}

function none({ query, state }: Question): Child {
  const text =
    query === '' && state === ''
      ? 'There are no devices yet. They appear here when they enroll.'
      : 'No device fits. Try less of the name, or another state.'
  return h('p', { class: 'empty' }, text)
}

function moreButton(
  place: HTMLElement,
  at: { body: HTMLElement; question: Question; cursor: string | null },
): void {
  const { body, question, cursor } = at
  if (cursor === null) return fill(place)
  fill(
    place,
    action({
      label: 'Show more',
      run: async () => {
        const page = await ask(question, cursor)
        body.append(...page.items.map(row))
        announce(`${page.items.length} more devices shown`)
        moreButton(place, { body, question, cursor: page.nextCursor })
      },
    }),
  )
}

function table(body: HTMLElement): Child {
  const heads = ['Device', 'State', 'Model', 'Last seen', 'Certificate ends']
  return h(
    'div',
    { class: 'card table-card' },
    h(
      'table',
      {},
      h('caption', { class: 'visually-hidden' }, 'Devices'),
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          heads.map((head) => h('th', { scope: 'col' }, head)),
        ),
      ),
      body,
    ),
  )
}

function row(device: DeviceView): HTMLElement {
  const { certificate } = device
  return h(
    'tr',
    {},
    h(
      'th',
      { scope: 'row' },
      h('a', { href: `#/devices/${device.id}` }, device.name),
      h('span', { class: 'small muted block' }, device.serialNumber),
    ),
    h('td', { 'data-head': 'State' }, stateBadge(device)),
    h('td', { 'data-head': 'Model' }, device.model ?? '–'),
    h('td', { 'data-head': 'Last seen' }, seen(device)),
    h('td', { 'data-head': 'Certificate ends' }, certificate ? moment(certificate.notAfter) : '–'),
  )
}

/** The state in a word and a color. */
export function stateBadge({ state }: Pick<DeviceView, 'state'>): Child {
  return h('span', { class: `badge state ${state}` }, state)
}

export function seen({ connected, lastSeenAt }: DeviceView): Child {
  if (connected) return h('span', { class: 'good-text' }, 'connected')
  return lastSeenAt === null ? 'never' : moment(lastSeenAt)
}

export function moment(instant: string): Child {
  return h('time', { datetime: instant, title: at(instant) }, ago(instant, Date.now()))
}
