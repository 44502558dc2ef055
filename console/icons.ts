import { svg } from './dom.ts'

/** The seal. */
export function logo(size = 28): SVGElement {
  return svg(
    'svg',
    { viewBox: '0 0 32 32', width: size, height: size, 'aria-hidden': 'true', class: 'logo' },
    svg('path', {
      class: 'logo-seal',
      d: 'm16 1 3.4 2.6 4.2-.5 1.6 4 4 1.6-.6 4.2L31 16l-2.4 3.2.6 4.2-4 1.6-1.6 4-4.2-.5L16 31l-3.4-2.5-4.2.5-1.6-4-4-1.6.6-4.2L1 16l2.4-3.1-.6-4.2 4-1.6 1.6-4 4.2.5z',
    }),
    svg('path', { class: 'logo-tick', d: 'm10.5 16.5 4 4 7.5-8.5' }),
  )
}

const paths = {
  key: 'M14 10a4 4 0 1 0-3.9 5L12 17h2v2h2v2h3v-3l-5.3-5.3c.2-.5.3-1.100.3-1.700zM8.500 9.500h.01',
  phone: 'M8 3h8a1 1 0 0 1 1 1v16a1 1 0 0 1-1 1H8a1 1 0 0 1-1-1V4a1 1 0 0 1 1-1zM11 18h2',
  list: 'M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01',
  lock: 'M6 11h12v9H6zM9 11V8a3 3 0 0 1 6 0v3',
  person: 'M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8zM4 21a8 8 0 0 1 16 0',
} as const

/** A small drawing beside words; it says nothing that they do not. */
export function icon(name: keyof typeof paths): SVGElement {
  return svg(
    'svg',
    { viewBox: '0 0 24 24', width: 22, height: 22, 'aria-hidden': 'true', class: 'icon' },
    svg('path', { d: paths[name] }),
  )
}
