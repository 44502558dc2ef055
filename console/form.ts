import { Problem } from './api.ts'
import { announce, type Child, fill, h, uniqueId } from './dom.ts'

interface FieldOptions {
  label: string
  name: string
  type?: string
  hint?: string
  autocomplete?: string
  inputmode?: string
  placeholder?: string
  required?: boolean
  maxlength?: number
  spellcheck?: boolean
  value?: string
}

export interface Field {
  element: HTMLElement
  input: HTMLInputElement
}

/** A labeled input, with a hint that a screen reader reads along; of a password one that can be shown. */
export function field(options: FieldOptions): Field {
  const { label, hint, required = true, type = 'text', spellcheck = false, ...rest } = options
  const id = uniqueId(options.name)
  const hintId = `${id}-hint`
  const input = h('input', {
    id,
    type,
    required,
    spellcheck: String(spellcheck),
    autocapitalize: 'none',
    ...(hint === undefined ? {} : { 'aria-describedby': hintId }),
    ...rest,
  })
  const isPassword = type === 'password'
  return {
    input,
    element: h(
      'div',
      { class: 'field' },
      h('label', { for: id }, label),
      isPassword ? h('div', { class: 'with-button' }, input, showButton(input)) : input,
      hint !== undefined && h('p', { class: 'hint', id: hintId }, hint),
    ),
  }
}

function showButton(input: HTMLInputElement): HTMLElement {
  const button = h('button', { type: 'button', class: 'quiet', 'aria-pressed': 'false' }, 'Show')
  button.addEventListener('click', () => {
    const isShown = input.type === 'password'
    input.type = isShown ? 'text' : 'password'
    button.textContent = isShown ? 'Hide' : 'Show'
    button.setAttribute('aria-pressed', String(isShown))
    input.focus()
  })
  return button
}

interface FormOptions {
  fields: readonly Child[]
  submit: string
  isDanger?: boolean
  /** Beside the button. */
  beside?: Child
  run: () => Promise<void>
}

/** A form that says what went wrong, and cannot be sent twice at once. */
export function form(options: FormOptions): HTMLFormElement {
  const trouble = h('div', { class: 'trouble', role: 'alert' })
  const button = h(
    'button',
    { type: 'submit', class: options.isDanger === true ? 'danger' : 'primary' },
    options.submit,
  )
  const element = h(
    'form',
    { novalidate: false },
    options.fields,
    trouble,
    h('div', { class: 'actions' }, button, options.beside),
  )
  element.addEventListener('submit', (event) => {
    event.preventDefault()
    void busy(button, trouble, options.run)
  })
  return element
}

/** A button that does one thing, and says below it when that did not work. */
export function action(options: {
  label: Child
  kind?: 'primary' | 'plain' | 'danger' | 'link'
  title?: string
  run: () => Promise<void>
}): HTMLElement {
  const trouble = h('div', { class: 'trouble', role: 'alert' })
  const button = h(
    'button',
    { type: 'button', class: options.kind ?? 'plain', 'aria-label': options.title },
    options.label,
  )
  button.addEventListener('click', () => void busy(button, trouble, options.run))
  return h('div', { class: 'action' }, button, trouble)
}

async function busy(
  button: HTMLButtonElement,
  trouble: HTMLElement,
  run: () => Promise<void>,
): Promise<void> {
  if (button.getAttribute('aria-busy') === 'true') return
  button.setAttribute('aria-busy', 'true')
  fill(trouble)
  try {
    await run()
  } catch (error) {
    fill(trouble, messageOf(error))
  } finally {
    button.removeAttribute('aria-busy')
  }
}

/** For people: what happened and what to do next. */
export function messageOf(error: unknown): string {
  if (error instanceof Problem) return sentence(error.message)
  if (error instanceof Error && error.name === 'NotAllowedError') {
    return 'The passkey was not used: it was cancelled, or took too long. Try again.'
  }
  if (error instanceof Error && error.name === 'InvalidStateError') {
    return 'This device holds a passkey for this account already.'
  }
  if (error instanceof Error && error.name === 'WebAuthnError') return sentence(error.message)
  return 'Something went wrong here. Load the page again.'
}

function sentence(text: string): string {
  const plain = text.trim()
  return /[.!?]$/.test(plain) ? plain : `${plain}.`
}

/** Something that is loaded: its place is kept meanwhile, and a refusal is shown in it. */
export function loaded<T>(load: () => Promise<T>, view: (value: T) => Child): HTMLElement {
  const place = h('div', { class: 'loading', 'aria-busy': 'true' }, 'Loading …')
  const start = async () => {
    try {
      const value = await load()
      place.className = 'loaded'
      fill(place, view(value))
    } catch (error) {
      place.className = 'loaded'
      const text = messageOf(error)
      fill(place, h('div', { class: 'notice bad', role: 'alert' }, text))
      announce(text)
    } finally {
      place.removeAttribute('aria-busy')
    }
  }
  void start()
  return place
}
