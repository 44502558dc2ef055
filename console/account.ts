import type { PasskeyView } from '../server/sign-in/self-wire.ts'
import { call } from './api.ts'
import { moment } from './devices.ts'
import { openDialog } from './dialog.ts'
import { announce, type Child, fill, h } from './dom.ts'
import { action, field, form } from './form.ts'
import { icon } from './icons.ts'
import { appStep } from './invitation.ts'
import { canPasskeys, makePasskey } from './passkey.ts'
import { recoveryCodes } from './recovery-codes.ts'
import { sessionsCard } from './sessions.ts'
import type { Credentials, Self } from './types.ts'

type Reload = () => Promise<void>

/** What somebody signs in with, and where they are signed in. */
export function accountPage(self: Self, reload: Reload): Child {
  const { credentials } = self
  return h(
    'div',
    { class: 'grid' },
    credentials
      ? [
          h(
            'section',
            { class: 'card' },
            cardHead('key', 'Passkeys'),
            passkeys(credentials, reload),
          ),
          h(
            'section',
            { class: 'card' },
            cardHead('phone', 'Authenticator app'),
            app(credentials, reload),
          ),
          h(
            'section',
            { class: 'card' },
            cardHead('list', 'Recovery codes'),
            codes(credentials, reload),
          ),
          h(
            'section',
            { class: 'card' },
            cardHead('lock', 'Password'),
            password(self, credentials, reload),
          ),
        ]
      : h(
          'section',
          { class: 'card wide' },
          h('h2', {}, 'Your password and factors'),
          h(
            'p',
            {},
            'You sign in at your organisation. What you sign in with is kept there, and changed there.',
          ),
        ),
    sessionsCard(self),
  )
}

function cardHead(name: Parameters<typeof icon>[0], title: string): Child {
  return h('h2', { class: 'with-icon' }, icon(name), title)
}

function passkeys({ passkeys: list }: Credentials, reload: Reload): Child {
  return [
    list.length === 0
      ? h(
          'p',
          { class: 'muted' },
          'None yet. A passkey signs you in with your finger, your face or a PIN, and no page can trick it out of you.',
        )
      : h(
          'ul',
          { class: 'plain-list' },
          list.map((one) => passkey(one, reload)),
        ),
    canPasskeys() &&
      action({
        label: 'Add a passkey',
        kind: 'primary',
        run: async () => await addPasskey(reload),
      }),
  ]
}

function passkey(one: PasskeyView, reload: Reload): Child {
  return h(
    'li',
    { class: 'between' },
    h(
      'span',
      {},
      h('strong', {}, one.name),
      h(
        'span',
        { class: 'small muted block' },
        one.isSynced ? 'on several devices' : 'on one device',
        ' · added ',
        moment(one.createdAt),
        ' · ',
        one.lastUsedAt === null ? 'never used' : ['used ', moment(one.lastUsedAt)],
      ),
    ),
    action({
      label: 'Remove',
      title: `Remove the passkey ${one.name}`,
      run: async () => {
        await call('DELETE', `/self/passkeys/${one.id}`)
        announce('Removed')
        await reload()
      },
    }),
  )
}

async function addPasskey(reload: Reload): Promise<void> {
  const offer = await call<{ ticket: string; options: unknown }>('POST', '/self/passkeys', {})
  const made = await makePasskey(offer)
  await openDialog<true>('Name this passkey', (close) => {
    const name = field({
      label: 'Name',
      name: 'name',
      value: 'My passkey',
      maxlength: 100,
      hint: 'So that you know it again: your phone, your password manager, the key on your ring.',
    })
    return form({
      fields: [name.element],
      submit: 'Save',
      run: async () => {
        await call('POST', '/self/factors', { ...made, name: name.input.value.trim() })
        close(true)
      },
    })
  })
  await reload()
}

function app({ totpSince }: Credentials, reload: Reload): Child {
  return [
    totpSince === null
      ? h('p', { class: 'muted' }, 'None. An app on your phone shows a code every 30 seconds.')
      : h('p', {}, 'In use since ', moment(totpSince), '.'),
    h(
      'div',
      { class: 'row' },
      action({
        label: totpSince === null ? 'Set up an app' : 'Use another app',
        kind: totpSince === null ? 'primary' : 'plain',
        run: async () => await setUpApp(reload),
      }),
      totpSince !== null &&
        action({
          label: 'Remove',
          title: 'Remove the authenticator app',
          run: async () => {
            await call('DELETE', '/self/totp')
            announce('Removed')
            await reload()
          },
        }),
    ),
  ]
}

async function setUpApp(reload: Reload): Promise<void> {
  const offer = await call<{ ticket: string; secret: string; uri: string }>(
    'POST',
    '/self/totp',
    {},
  )
  await openDialog<true>('Authenticator app', (close) =>
    appStep(offer, async (code) => {
      await call('POST', '/self/factors', { ticket: offer.ticket, kind: 'totp', code })
      close(true)
    }),
  )
  await reload()
}

function codes({ recoveryCodesLeft, hasPassword }: Credentials, reload: Reload): Child {
  if (!hasPassword) {
    return h(
      'p',
      { class: 'muted' },
      'They stand in for a second factor, and you sign in without a password: add a second passkey instead.',
    )
  }
  return [
    h(
      'p',
      {},
      h('strong', {}, String(recoveryCodesLeft)),
      ' of 10 are left. Each lets you in once when you do not have your app.',
    ),
    action({
      label: 'Make new codes',
      run: async () => {
        const made = await call<{ recoveryCodes: string[] }>('POST', '/self/recovery-codes', {})
        await openDialog<true>('Your new codes', (close) => [
          recoveryCodes(made.recoveryCodes),
          action({ label: 'I have kept them', kind: 'primary', run: async () => close(true) }),
        ])
        await reload()
      },
    }),
  ]
}

function password(self: Self, { hasPassword }: Credentials, reload: Reload): Child {
  const place = h('div', {})
  const current = field({
    label: 'Current password',
    name: 'current',
    type: 'password',
    autocomplete: 'current-password',
  })
  const next = field({
    label: 'New password',
    name: 'password',
    type: 'password',
    autocomplete: 'new-password',
    hint: 'At least 12 characters. All your other sessions end.',
  })
  const change = form({
    fields: [
      h('input', {
        type: 'text',
        class: 'visually-hidden',
        autocomplete: 'username',
        value: self.person.email,
        tabindex: -1,
        'aria-hidden': 'true',
        readonly: true,
      }),
      hasPassword && current.element,
      next.element,
    ],
    submit: hasPassword ? 'Change' : 'Set',
    run: async () => {
      await call('POST', '/self/password', {
        ...(hasPassword ? { current: current.input.value } : {}),
        password: next.input.value,
      })
      announce('The password was changed')
      await reload()
    },
  })
  fill(
    place,
    h(
      'p',
      { class: 'muted' },
      hasPassword
        ? 'Change it when somebody else may know it; not because time has passed.'
        : 'You have none: you sign in with passkeys.',
    ),
    action({
      label: hasPassword ? 'Change the password' : 'Set a password',
      run: async () => {
        fill(place, change)
        change.querySelector<HTMLInputElement>('input:not([readonly])')?.focus()
      },
    }),
  )
  return place
}
