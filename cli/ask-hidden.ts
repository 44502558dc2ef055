import type { ReadStream } from 'node:tty'

const maxLength = 1_024

/** Reads one line from a terminal without showing it. Undefined when the person gave up with Ctrl-C or Ctrl-D. */
export async function askHidden(
  question: string,
  input: ReadStream,
  output: { write: (text: string) => unknown },
): Promise<string | undefined> {
  output.write(question)
  input.setRawMode(true)
  input.resume()
  input.setEncoding('utf8')
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  let typed = ''
  const take = (text: string) => {
    for (const character of text) {
      if (character === '\r' || character === '\n') return resolve(typed)
      if (character === '\u0003' || character === '\u0004') return resolve(undefined)
      if (character === '\u007f' || character === '\b') typed = typed.slice(0, -1)
      else if (typed.length < maxLength) typed += character
    }
  }
  input.on('data', take)
  try {
    return await promise
  } finally {
    input.off('data', take)
    input.setRawMode(false)
    input.pause()
    output.write('\n')
  }
}
