import { type Child, h, uniqueId } from './dom.ts'

/**
 * A dialog over the page: the browser keeps the focus in it and gives it back. Resolves with what `close` was called with; undefined when it was
 * closed by Escape or its button.
 */
export async function openDialog<T>(
  title: string,
  content: (close: (value: T) => void) => Child,
): Promise<T | undefined> {
  const titleId = uniqueId('dialog')
  const { promise, resolve } = Promise.withResolvers<T | undefined>()
  const dialog = h('dialog', { 'aria-labelledby': titleId })
  const close = (value: T | undefined) => {
    resolve(value)
    dialog.close()
  }
  const closer = h(
    'button',
    {
      type: 'button',
      class: 'quiet close',
      'aria-label': 'Close',
      onclick: () => close(undefined),
    },
    '✕',
  )
  dialog.append(
    h('div', { class: 'dialog-head' }, h('h2', { id: titleId }, title), closer),
    h('div', { class: 'dialog-body' }, content(close)),
  )
  dialog.addEventListener('close', () => {
    resolve(undefined)
    dialog.remove()
  })
  document.body.append(dialog)
  dialog.showModal()
  return await promise
}
