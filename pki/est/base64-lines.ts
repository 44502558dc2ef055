const lineLength = 64

/**
 * Base64 in lines of 64 characters, each with its end: the form that every EST client reads (RFC 8951 §3.1, pki.md section 8.3). One long
 * line is not read by libest.
 */
export function toBase64Lines(der: Buffer, lineEnd: '\n' | '\r\n' = '\n'): string {
  const base64 = der.toString('base64')
  let text = ''
  for (let at = 0; at < base64.length; at += lineLength) {
    text += `${base64.slice(at, at + lineLength)}${lineEnd}`
  }
  return text
}
