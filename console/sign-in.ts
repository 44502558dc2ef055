import { call } from './api.ts'
import { type Child, fill, h } from './dom.ts'
import { action, field, form, loaded } from './form.ts'
import { icon, logo } from './icons.ts'
import { canPasskeys, signInWithPasskey } from './passkey.ts'

interface Ticket {
  ticket: string
  kinds: ('passkey' | 'totp' | 'recovery-code')[]
}

interface Ways {
  passkey: boolean
  oidcUrl: string | null
}

type Entered = () => Promise<void>

/** Signing in: a password and a second factor, a passkey, or the identity provider. */
export function signInPage(entered: Entered): Child {
  const card = h('section', { class: 'card narrow' })
  const first = () =>
    fill(
      card,
      firstStep((ticket) => fill(card, secondStep(ticket, again)), entered),
    )
  const again = { entered, back: first }
  first()
  return card
}

function firstStep(next: (ticket: Ticket) => void, entered: Entered): Child {
  const email = field({
    label: 'E-mail address',
    name: 'email',
    type: 'email',
    autocomplete: 'username',
    maxlength: 254,
  })
  const password = field({
    label: 'Password',
    name: 'password',
    type: 'password',
    autocomplete: 'current-password',
  })
  return [
    heading('Sign in', 'to manage your fleet'),
    form({
      fields: [email.element, password.element],
      submit: 'Continue',
      run: async () => {
        const body = { email: email.input.value.trim(), password: password.input.value }
        next(await call<Ticket>('POST', '/sign-in/password', body))
      },
    }),
    loaded(
      async () => await call<Ways>('POST', '/sign-in/ways', {}),
      (ways) => otherWays(ways, entered),
    ),
  ]
}

function otherWays(ways: Ways, entered: Entered): Child {
  const passkey =
    ways.passkey &&
    canPasskeys() &&
    action({
      label: [icon('key'), 'Sign in with a passkey'],
      run: async () => {
        await signInWithPasskey()
        await entered()
      },
    })
  const provider =
    ways.oidcUrl !== null &&
    h(
      'a',
      { class: 'button plain', href: ways.oidcUrl },
      icon('person'),
      'Use your organisation’s sign-in',
    )
  if (passkey === false && provider === false) return null
  return h('div', { class: 'ways' }, h('p', { class: 'divider' }, 'or'), passkey, provider)
}

export function heading(title: string, below: Child): Child {
  return h(
    'div',
    { class: 'card-head' },
    logo(44),
    h('h1', { tabindex: -1 }, title),
    h('p', { class: 'muted' }, below),
  )
}

interface Then {
  entered: Entered
  back: () => void
}

function secondStep({ ticket, kinds }: Ticket, { entered, back }: Then): Child {
  const [preferred] = kinds
  const place = h('div', {})
  const show = (kind: Ticket['kinds'][number] | undefined) =>
    fill(
      place,
      kind === 'passkey'
        ? passkeyStep(ticket, entered)
        : codeStep({ ticket, kind: kind ?? 'totp', entered }),
      h(
        'div',
        { class: 'alternatives' },
        kinds
          .filter((other) => other !== kind)
          .map((other) => link(alternatives[other], () => show(other))),
        link('Start over', back),
      ),
    )
  show(preferred)
  const view = [heading('Second factor', 'One more step: show that it is you'), place]
  queueMicrotask(() => place.querySelector('input')?.focus())
  return view
}

const alternatives = {
  passkey: 'Use a passkey',
  totp: 'Use a code of your app',
  'recovery-code': 'Use a recovery code',
} as const

export function link(text: string, go: () => void): HTMLElement {
  return h('button', { type: 'button', class: 'link', onclick: go }, text)
}

function passkeyStep(ticket: string, entered: Entered): Child {
  return action({
    label: [icon('key'), 'Continue with your passkey'],
    kind: 'primary',
    run: async () => {
      await signInWithPasskey(ticket)
      await entered()
    },
  })
}

function codeStep(step: {
  ticket: string
  kind: 'totp' | 'recovery-code'
  entered: Entered
}): Child {
  const { ticket, kind, entered } = step
  const code = codeField(kind)
  return form({
    fields: [code.element],
    submit: 'Sign in',
    run: async () => {
      const body = { ticket, kind, code: code.input.value }
      await call('POST', '/sign-in/second-factor', body)
      await entered()
    },
  })
}

/** For six digits of an app, or for a recovery code. */
export function codeField(kind: 'totp' | 'recovery-code') {
  return kind === 'totp'
    ? field({
        label: 'Code of your authenticator app',
        name: 'code',
        inputmode: 'numeric',
        autocomplete: 'one-time-code',
        placeholder: '123456',
        maxlength: 9,
        hint: 'Six digits, new every 30 seconds.',
      })
    : field({
        label: 'Recovery code',
        name: 'recovery-code',
        autocomplete: 'off',
        placeholder: 'XXXXXXXX-XXXXXXXX',
        maxlength: 40,
        hint: 'One of the ten that you were given. Each works once.',
      })
}
