/** What an element may be made of. Text is text: nothing is ever read as markup. */
export type Child = Node | string | number | null | undefined | false | readonly Child[]

type Handlers = { [name in `on${string}`]?: (event: Event) => void }
type Attributes = Record<
  string,
  string | number | boolean | null | undefined | ((event: Event) => void)
> &
  Handlers

/** An element with attributes (`true`: without a value, `false`: not there), listeners (`onclick`) and children. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value)
    else setAttribute(element, name, value)
  }
  append(element, children)
  return element
}

const svgSpace = 'http://www.w3.org/2000/svg'

/** The same for pictures. */
export function svg(
  tag: string,
  attributes: Record<string, string | number> = {},
  ...children: readonly Child[]
): SVGElement {
  const element = document.createElementNS(svgSpace, tag)
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value)
  append(element, children)
  return element
}

function setAttribute(
  element: Element,
  name: string,
  value: string | number | boolean | null | undefined,
): void {
  if (value === undefined || value === null || value === false) return
  element.setAttribute(name, value === true ? '' : String(value))
}

function append(parent: Element, children: readonly Child[]): void {
  for (const child of children) {
    if (isList(child)) append(parent, child)
    else if (child !== null && child !== undefined && child !== false) {
      parent.append(child instanceof Node ? child : String(child))
    }
  }
}

function isList(child: Child): child is readonly Child[] {
  return Array.isArray(child)
}

/** Puts other children into an element. */
export function fill(element: Element, ...children: readonly Child[]): void {
  element.replaceChildren()
  append(element, children)
}

/** Said by a screen reader, seen by nobody. */
export function announce(text: string): void {
  const announcer = document.querySelector('#announcer')
  if (announcer) announcer.textContent = text
}

let used = 0

/** An id that nothing else on the page has. */
export function uniqueId(prefix: string): string {
  used += 1
  return `${prefix}-${used}`
}
