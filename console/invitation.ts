import { call } from './api.ts'
import { type Child, fill, h } from './dom.ts'
import { action, field, form, loaded } from './form.ts'
import { icon } from './icons.ts'
import { canPasskeys, makePasskey } from './passkey.ts'
import { qrCode } from './qr-view.ts'
import { recoveryCodes } from './recovery-codes.ts'
import { codeField, heading, link } from './sign-in.ts'

interface Invitation {
  name: string
  email: string
}

interface Ticket {
  ticket: string
  kinds: string[]
}

interface Done {
  recoveryCodes: string[]
}

type Entered = () => Promise<void>

/** Taking an account: a password, a second factor, the recovery codes. */
export function invitationPage(token: string, entered: Entered): Child {
  return loaded(
    async () => await call<Invitation>('POST', '/sign-in/invitation', { token }),
    (invitation) => {
      const card = h('section', { class: 'card narrow' })
      const finish = async (done: Done) => {
        if (done.recoveryCodes.length === 0) return await entered()
        fill(card, heading('Keep these codes', 'Your account is ready'), codesStep(done, entered))
      }
      const choose = (ticket: Ticket) => fill(card, factorStep(ticket, finish))
      fill(card, passwordStep({ invitation, token, choose, finish }))
      return card
    },
  )
}

function passwordStep(step: {
  invitation: Invitation
  token: string
  choose: (ticket: Ticket) => void
  finish: (done: Done) => Promise<void>
}): Child {
  const { invitation, token, choose, finish } = step
  const name = field({
    label: 'E-mail address',
    name: 'email',
    type: 'email',
    autocomplete: 'username',
    value: invitation.email,
  })
  name.input.readOnly = true
  const password = field({
    label: 'New password',
    name: 'password',
    type: 'password',
    autocomplete: 'new-password',
    hint: 'At least 12 characters. Several words that do not belong together are easy to keep in mind.',
  })
  const accept = async (body: object) =>
    await call<Ticket>('POST', '/sign-in/invitation/accept', { token, ...body })
  return [
    heading(`Welcome, ${invitation.name}`, 'Choose how you sign in from now on'),
    form({
      fields: [name.element, password.element],
      submit: 'Continue',
      run: async () => choose(await accept({ password: password.input.value })),
    }),
    canPasskeys() &&
      h(
        'div',
        { class: 'ways' },
        h('p', { class: 'divider' }, 'or'),
        action({
          label: [icon('key'), 'Use a passkey and no password'],
          run: async () => {
            const { ticket } = await accept({})
            await finish(await setUpPasskey(ticket))
          },
        }),
      ),
  ]
}

function factorStep({ ticket, kinds }: Ticket, finish: (done: Done) => Promise<void>): Child {
  const place = h('div', {})
  const withApp = async () => {
    const offer = await call<{ secret: string; uri: string }>('POST', '/sign-in/setup/totp', {
      ticket,
    })
    fill(
      place,
      appStep(offer, async (code) => {
        const body = { ticket, kind: 'totp', code }
        await finish(await call<Done>('POST', '/sign-in/setup', body))
      }),
      link('Choose another way', choice),
    )
    place.querySelector('input')?.focus()
  }
  const choice = () =>
    fill(
      place,
      h(
        'div',
        { class: 'choices' },
        action({ label: [icon('phone'), 'Authenticator app'], run: withApp }),
        kinds.includes('passkey') &&
          canPasskeys() &&
          action({
            label: [icon('key'), 'Passkey'],
            run: async () => await finish(await setUpPasskey(ticket)),
          }),
      ),
      h(
        'p',
        { class: 'hint' },
        'An app on your phone shows a code every 30 seconds. A passkey is kept by this device, a phone or a security key, and cannot be given away by mistake.',
      ),
    )
  choice()
  return [heading('Second factor', 'So that a stolen password is not enough'), place]
}

async function setUpPasskey(ticket: string): Promise<Done> {
  const offer = await call<{ ticket: string; options: unknown }>('POST', '/sign-in/setup/passkey', {
    ticket,
  })
  return await call<Done>('POST', '/sign-in/setup', await makePasskey(offer))
}

/** Scanning, and the first code. */
export function appStep(
  offer: { secret: string; uri: string },
  run: (code: string) => Promise<void>,
): Child {
  const code = codeField('totp')
  return [
    h('p', {}, 'Scan this with your authenticator app, then type the code that it shows.'),
    qrCode(offer.uri, 'To be scanned with an authenticator app; the key below is the same'),
    h(
      'details',
      {},
      h('summary', {}, 'Or type this key'),
      h('code', { class: 'secret' }, offer.secret.replaceAll(/(.{4})/g, '$1 ').trim()),
    ),
    form({
      fields: [code.element],
      submit: 'Confirm',
      run: async () => await run(code.input.value),
    }),
  ]
}

function codesStep(done: Done, entered: Entered): Child {
  return [
    recoveryCodes(done.recoveryCodes),
    action({ label: 'I have kept them', kind: 'primary', run: entered }),
  ]
}
