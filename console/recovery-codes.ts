import { type Child, h } from './dom.ts'
import { action } from './form.ts'

/** The codes, shown once, with ways to keep them. */
export function recoveryCodes(codes: readonly string[]): Child {
  const text = codes.join('\n')
  return [
    h(
      'p',
      {},
      'If you lose your app, each of these codes lets you in once instead of it. They are shown only now: print them, or put them where you keep passwords.',
    ),
    h(
      'ul',
      { class: 'codes' },
      codes.map((code) => h('li', {}, h('code', {}, code))),
    ),
    h(
      'div',
      { class: 'row' },
      action({ label: 'Copy', run: async () => await navigator.clipboard.writeText(text) }),
      action({ label: 'Save as a file', run: async () => save(text) }),
    ),
  ]
}

function save(text: string): void {
  const url = URL.createObjectURL(new Blob([`Fleetseal recovery codes\n\n${text}\n`]))
  const link = h('a', { href: url, download: 'fleetseal-recovery-codes.txt' })
  link.click()
  URL.revokeObjectURL(url)
}
