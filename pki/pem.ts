import { PkiError } from './errors.ts'

const lineLength = 64
/** A chain of large ML-DSA certificates is under 100 KB of text. */
const maxTextLength = 1_048_576
const maxBlocks = 64

/** RFC 7468 text: 64-character lines joined by LF, never an empty line before the end (pki.md T11). */
export function toPem(label: string, der: Buffer): string {
  const body = der.toString('base64')
  const lines: string[] = []
  for (let at = 0; at < body.length; at += lineLength) lines.push(body.slice(at, at + lineLength))
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}

/**
 * Every block of `label` in the text, in order; blocks of other labels and text between blocks are
 * skipped (RFC 7468 §2). The base64 inside is strict.
 *
 * @throws PkiError `pem` when there is no such block, more than 64, or text beyond 1 MiB
 */
export function fromPem(text: string, label: string): Buffer[] {
  if (text.length > maxTextLength) throw new PkiError('pem', 'PEM text is too long')
  const begin = `-----BEGIN ${label}-----`
  const end = `-----END ${label}-----`
  const blocks: Buffer[] = []
  for (let at = text.indexOf(begin); at >= 0; at = text.indexOf(begin, at)) {
    const bodyStart = at + begin.length
    const bodyEnd = text.indexOf(end, bodyStart)
    if (bodyEnd < 0) throw new PkiError('pem', `PEM block of ${label} has no end`)
    if (blocks.length >= maxBlocks) throw new PkiError('pem', 'Too many PEM blocks')
    blocks.push(decodeBody(text.slice(bodyStart, bodyEnd)))
    at = bodyEnd + end.length
  }
  if (blocks.length === 0) throw new PkiError('pem', `No PEM block of ${label}`)
  return blocks
}

function decodeBody(body: string): Buffer {
  const base64 = body.replaceAll(/[\r\n\t ]/g, '')
  const bytes = Buffer.from(base64, 'base64')
  // Buffer skips what it does not know; writing it back shows whether anything was skipped.
  if (bytes.length === 0 || bytes.toString('base64') !== base64) {
    throw new PkiError('pem', 'PEM body is not base64')
  }
  return bytes
}
