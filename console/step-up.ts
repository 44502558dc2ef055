import { call } from './api.ts'
import { openDialog } from './dialog.ts'
import { type Child, fill, h } from './dom.ts'
import { action, form } from './form.ts'
import { icon } from './icons.ts'
import { showPasskey } from './passkey.ts'
import { codeField, link } from './sign-in.ts'

type Kind = 'passkey' | 'totp' | 'recovery-code' | 'oidc'

interface Options {
  kinds: Kind[]
  passkey: { ticket: string; options: unknown } | null
  oidcUrl: string | null
}

/** Asks for the second factor again. False when its person closed the question. */
export async function stepUpDialog(): Promise<boolean> {
  const options = await call<Options>('POST', '/sign-in/step-up/options', {})
  const done = await openDialog<boolean>('Is it still you?', (close) => [
    h(
      'p',
      {},
      'What you are about to do cannot easily be undone. Show your second factor once more; for the next ten minutes you will not be asked again.',
    ),
    question(options, () => close(true)),
  ])
  return done === true
}

function question(options: Options, done: () => void): Child {
  const place = h('div', {})
  const show = (kind: Kind | undefined) => {
    const others = options.kinds.filter((other) => other !== kind)
    fill(
      place,
      factor(kind, options, done),
      h(
        'div',
        { class: 'alternatives' },
        others.map((other) => link(alternatives[other], () => show(other))),
      ),
    )
    place.querySelector('input')?.focus()
  }
  show(options.kinds[0])
  queueMicrotask(() => place.querySelector('input')?.focus())
  return place
}

const alternatives: Readonly<Record<Kind, string>> = {
  passkey: 'Use a passkey',
  totp: 'Use a code of your app',
  'recovery-code': 'Use a recovery code',
  oidc: 'Use your organisation’s sign-in',
}

function factor(kind: Kind | undefined, options: Options, done: () => void): Child {
  const { passkey, oidcUrl } = options
  if (kind === 'passkey' && passkey) {
    return action({
      label: [icon('key'), 'Continue with your passkey'],
      kind: 'primary',
      run: async () => {
        await call('POST', '/sign-in/step-up', await showPasskey(passkey))
        done()
      },
    })
  }
  if (kind === 'oidc' && oidcUrl !== null) {
    const back = encodeURIComponent(`/${location.hash}`)
    const href = `${oidcUrl}&returnTo=${back}`
    return h('a', { class: 'button primary', href }, 'Sign in again')
  }
  const code = codeField(kind === 'recovery-code' ? kind : 'totp')
  return form({
    fields: [code.element],
    submit: 'Confirm',
    run: async () => {
      const body = { kind: kind === 'recovery-code' ? kind : 'totp', code: code.input.value }
      await call('POST', '/sign-in/step-up', body)
      done()
    },
  })
}
