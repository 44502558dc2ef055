/**
 * What an owner is told about an update travels in signed metadata, whose strings are printable ASCII without quote and
 * backslash (updates.md 2.1). Every other character, and `%` itself, is percent-encoded UTF-8 (RFC 3986 section 2.1), so
 * that plain English stays readable there.
 */
const plain = /^[ !#$&-[\]-~]$/
const cut = '...'

/** At most `maxLength` characters, never in the middle of one; what is left out shows as `...`. Throws for lone surrogates. */
export function encodeNotice(text: string, maxLength: number): string {
  let encoded = ''
  let short = ''
  for (const character of text) {
    encoded += plain.test(character) ? character : encodeURIComponent(character)
    if (encoded.length <= maxLength - cut.length) short = encoded
    if (encoded.length > maxLength) return short + cut
  }
  return encoded
}

/** The text again; what is no such encoding is shown as it is. */
export function decodeNotice(encoded: string): string {
  try {
    return decodeURIComponent(encoded)
  } catch {
    return encoded
  }
}
