/**
 * Text that PostgreSQL can hold, from text that a device or a person sent: no NUL and no half of a surrogate pair, either
 * of which it refuses, and no other control characters, which could forge lines in a log or a terminal.
 */
export function storable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- they are what is looked for
  return text.toWellFormed().replaceAll(/[\u0000-\u001f\u007f-\u009f]/g, ' ')
}

const earliest = Date.parse('2000-01-01T00:00:00Z')

/** An instant that a device claims; undefined when it cannot be one (a clock that was never set). */
export function storableInstant(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined
  const at = new Date(text)
  return at.getTime() >= earliest ? at : undefined
}
