/** PostgreSQL refuses a payload of 8,000 bytes and more (NOTIFY: "must be shorter than 8000 bytes"). */
export const maxPayloadBytes = 7_999

/**
 * Words with commas between, in as few payloads as hold them: by bytes and not by number, because the words of a channel are ids, or ids
 * with more to them.
 *
 * @returns what can be sent, in order, and the words that fit in no payload, which nobody can be told
 */
export function payloadsOf(words: readonly string[]): { payloads: string[]; tooLong: string[] } {
  const payloads: string[] = []
  const tooLong: string[] = []
  let payload: string[] = []
  let bytes = 0
  for (const word of words) {
    const length = Buffer.byteLength(word)
    if (length > maxPayloadBytes) {
      tooLong.push(word)
      continue
    }
    if (payload.length > 0 && bytes + 1 + length > maxPayloadBytes) {
      payloads.push(payload.join(','))
      payload = []
    }
    bytes = payload.length === 0 ? length : bytes + 1 + length
    payload.push(word)
  }
  if (payload.length > 0) payloads.push(payload.join(','))
  return { payloads, tooLong }
}
