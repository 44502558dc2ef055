import { accountPage } from './account.ts'
import { call, onRefusal, signOut, whoIsSignedIn } from './api.ts'
import { devicePage } from './device.ts'
import { devicesPage } from './devices.ts'
import { announce, type Child, fill, h } from './dom.ts'
import { action, messageOf } from './form.ts'
import { logo } from './icons.ts'
import { invitationPage } from './invitation.ts'
import { overviewPage } from './overview.ts'
import { signInPage } from './sign-in.ts'
import { stepUpDialog } from './step-up.ts'
import type { Self } from './types.ts'

/** What is at an address behind `#`. */
interface Page {
  title: string
  content: Child
}

const navigation = [
  ['#/', 'Overview'],
  ['#/devices', 'Devices'],
  ['#/account', 'Account'],
] as const

const app = document.querySelector('#app') ?? document.body
let self: Self | undefined

onRefusal({
  signedOut: () => {
    self = undefined
    void show()
  },
  stepUp: stepUpDialog,
})
addEventListener('hashchange', () => void show())
void show()

async function show(): Promise<void> {
  for (const dialog of document.querySelectorAll('dialog')) dialog.close()
  const path = location.hash.replace(/^#/, '') || '/'
  const invitation = /^\/invitation\/([A-Za-z0-9_-]{43})$/.exec(path)?.[1]
  if (invitation !== undefined) {
    // The link works once: it is of no use in the history.
    history.replaceState(null, '', '/#/invitation')
    return alone('Welcome', invitationPage(invitation, entered))
  }
  try {
    self ??= await whoIsSignedIn<Self>()
  } catch (error) {
    return alone('Not available', unavailable(messageOf(error)))
  }
  if (!self) return alone('Sign in', signInPage(entered))
  framed(self, pageAt(path, self))
}

function unavailable(why: string): Child {
  const again = async () => await show()
  return h(
    'section',
    { class: 'card narrow' },
    h('h1', { tabindex: -1 }, 'Not available now'),
    h('p', {}, why),
    action({ label: 'Try again', kind: 'primary', run: again }),
  )
}

/** After a sign-in. */
async function entered(): Promise<void> {
  self = await call<Self>('GET', '/self')
  const path = location.hash
  if (path === '' || path.startsWith('#/invitation') || path === '#/sign-in') {
    history.replaceState(null, '', '/#/')
  }
  await show()
}

function pageAt(path: string, who: Self): Page {
  const deviceId = /^\/devices\/([0-9a-f-]{36})$/.exec(path)?.[1]
  if (deviceId !== undefined) return { title: 'Device', content: devicePage(deviceId) }
  if (path === '/devices' || path.startsWith('/devices?')) {
    return { title: 'Devices', content: devicesPage(path) }
  }
  if (path === '/account') return { title: 'Account', content: accountPage(who, reload) }
  if (path === '/' || path === '/sign-in') {
    return { title: 'Overview', content: overviewPage(who) }
  }
  const back = h('a', { href: '#/' }, 'Go to the overview')
  return { title: 'Not found', content: h('p', {}, 'There is nothing at this address. ', back) }
}

async function reload(): Promise<void> {
  self = await call<Self>('GET', '/self')
  await show()
}

/** A page for those who are not signed in: one thing in the middle. */
function alone(title: string, content: Child): void {
  fill(app, h('main', { id: 'main', class: 'alone' }, content))
  entitle(title)
}

function framed(who: Self, { title, content }: Page): void {
  const path = location.hash || '#/'
  const isHere = (href: string) => (href === '#/' ? path === '#/' : path.startsWith(href))
  const links = navigation.map(([href, name]) =>
    h('a', { href, 'aria-current': isHere(href) ? 'page' : null }, name),
  )
  fill(
    app,
    h(
      'header',
      { class: 'bar' },
      h(
        'a',
        { href: '#/', class: 'brand', 'aria-label': 'Fleetseal: overview' },
        logo(),
        'Fleetseal',
      ),
      h('nav', { 'aria-label': 'Main' }, links),
      h(
        'div',
        { class: 'who' },
        h('span', { class: 'who-name', title: who.person.email }, who.person.name),
        action({ label: 'Sign out', run: leave }),
      ),
    ),
    h('main', { id: 'main', class: 'framed' }, h('h1', { tabindex: -1 }, title), content),
  )
  entitle(title)
}

async function leave(): Promise<void> {
  const elsewhere = await signOut()
  self = undefined
  history.replaceState(null, '', '/#/')
  if (elsewhere !== null) location.assign(elsewhere)
  else await show()
}

/** Whoever does not see the page change hears it. */
function entitle(title: string): void {
  document.title = `${title} · Fleetseal`
  announce(title)
  document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true })
  scrollTo(0, 0)
}
