import type { DeviceView } from '../server/devices/wire.ts'
import type { EventView } from '../server/events/wire.ts'
import { call } from './api.ts'
import { moment, seen, stateBadge } from './devices.ts'
import { openDialog } from './dialog.ts'
import { announce, type Child, fill, h } from './dom.ts'
import { action, field, form, loaded } from './form.ts'
import { eventLine } from './overview.ts'
import type { Listing } from './types.ts'

/** One device: what it is, and cutting it off. */
export function devicePage(deviceId: string): Child {
  const place = h('div', {})
  const show = () =>
    fill(
      place,
      loaded(
        async () => await call<DeviceView>('GET', `/devices/${deviceId}`),
        (device) => view(device, show),
      ),
    )
  show()
  return [h('p', { class: 'back' }, h('a', { href: '#/devices' }, '← All devices')), place]
}

function view(device: DeviceView, again: () => void): Child {
  return h(
    'div',
    { class: 'grid' },
    h(
      'section',
      { class: 'card wide' },
      h('div', { class: 'between' }, h('h2', {}, device.name), stateBadge(device)),
      facts(device),
      h(
        'div',
        { class: 'row' },
        choices(device).map((choice) => choiceButton(device, choice, again)),
      ),
    ),
    h('section', { class: 'card' }, h('h2', {}, 'Installed'), installed(device)),
    h('section', { class: 'card' }, h('h2', {}, 'Security events'), events(device)),
  )
}

function facts(device: DeviceView): Child {
  const { certificate } = device
  const rows: (readonly [string, Child])[] = [
    ['Serial number', device.serialNumber],
    ['Model', device.model ?? '–'],
    ['Last seen', seen(device)],
    [
      'Certificate',
      certificate ? [certificate.state, ', ends ', moment(certificate.notAfter)] : 'none',
    ],
    ['Updates', device.updateOptOut ? 'its owner opted out' : 'as its owner decides'],
    ['Id', h('code', { class: 'breakable' }, device.id)],
  ]
  return h(
    'dl',
    { class: 'facts' },
    rows.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]),
  )
}

function installed({ installed: list }: DeviceView): Child {
  if (list.length === 0) return h('p', { class: 'muted' }, 'It has not said what it runs.')
  return h(
    'ul',
    { class: 'plain-list' },
    list.map(({ component, version }) =>
      h(
        'li',
        { class: 'between' },
        h('span', {}, textOf(component)),
        h('code', {}, textOf(version)),
      ),
    ),
  )
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '–'
}

function events(device: DeviceView): Child {
  return loaded(
    async () => await call<Listing<EventView>>('GET', `/events?deviceId=${device.id}&limit=5`),
    ({ items }) =>
      items.length === 0
        ? h('p', { class: 'muted' }, 'Nothing was noticed.')
        : h('ul', { class: 'plain-list events' }, items.map(eventLine)),
  )
}

interface Choice {
  action: 'disable' | 'enable' | 'revoke'
  label: string
  what: string
  isDanger: boolean
}

const disable: Choice = {
  action: 'disable',
  label: 'Disable',
  what: 'It is cut off within a second and stays so until somebody enables it again. Its certificate stays good.',
  isDanger: true,
}
const enable: Choice = {
  action: 'enable',
  label: 'Enable',
  what: 'It may connect again with its certificate.',
  isDanger: false,
}
const revoke: Choice = {
  action: 'revoke',
  label: 'Revoke',
  what: 'It is cut off within a second, and its certificates are revoked. This cannot be undone: the device has to enroll anew.',
  isDanger: true,
}

function choices({ state }: DeviceView): Choice[] {
  if (state === 'active') return [disable, revoke]
  return state === 'disabled' ? [enable, revoke] : []
}

function choiceButton(device: DeviceView, choice: Choice, again: () => void): Child {
  return action({
    label: `${choice.label} …`,
    kind: choice.isDanger ? 'danger' : 'primary',
    title: `${choice.label} ${device.name}`,
    run: async () => {
      const done = await openDialog<true>(`${choice.label} ${device.name}?`, (close) =>
        reasonForm(device, choice, () => close(true)),
      )
      if (done !== true) return
      announce('Done')
      again()
    },
  })
}

function reasonForm(device: DeviceView, choice: Choice, done: () => void): Child {
  const reason = field({
    label: 'Reason',
    name: 'reason',
    maxlength: 500,
    autocomplete: 'off',
    hint: 'For the audit log: what happened, or a ticket number.',
    spellcheck: true,
  })
  return [
    h('p', {}, choice.what),
    form({
      fields: [reason.element],
      submit: choice.label,
      isDanger: choice.isDanger,
      run: async () => {
        const body = { action: choice.action, reason: reason.input.value.trim() }
        await call('POST', `/devices/${device.id}/actions`, body)
        done()
      },
    }),
  ]
}
