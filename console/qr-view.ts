import { svg } from './dom.ts'
import { qrModules } from './qr.ts'

const quiet = 4

/** A text as a QR code. */
export function qrCode(text: string, label: string): SVGElement {
  const modules = qrModules(text)
  const size = modules.length + quiet * 2
  const dark = modules.flatMap((row, y) =>
    row.flatMap((module, x) => (module ? [`M${x + quiet} ${y + quiet}h1v1h-1z`] : [])),
  )
  return svg(
    'svg',
    { viewBox: `0 0 ${size} ${size}`, class: 'qr', role: 'img', 'aria-label': label },
    svg('rect', { width: size, height: size, class: 'qr-light' }),
    svg('path', { d: dark.join(''), class: 'qr-dark' }),
  )
}
