import { createInterface } from 'node:readline/promises'
import { setTimeout as sleep } from 'node:timers/promises'

import { askHidden } from './ask-hidden.ts'
import { runProgram } from './program.ts'

const stop = new AbortController()
process.once('SIGINT', () => {
  stop.abort()
  // A command that does not listen must end too.
  process.once('SIGINT', () => process.exit(130))
})
// A reader that has seen enough (`| head`) is not an error.
process.stdout.on('error', (error: NodeJS.ErrnoException) =>
  process.exit(error.code === 'EPIPE' ? 0 : 1),
)

process.exitCode = await runProgram(process.argv.slice(2), {
  env: process.env,
  stdout: process.stdout,
  stderr: process.stderr,
  ask,
  now: () => new Date(),
  sleep: async (ms) => {
    await sleep(ms, undefined, { signal: stop.signal }).catch(() => {})
  },
  signal: stop.signal,
})

async function ask(question: string, hidden = false): Promise<string | undefined> {
  if (!process.stdin.isTTY) return undefined
  if (hidden) return await askHidden(question, process.stdin, process.stderr)
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  try {
    return await terminal.question(question, { signal: stop.signal })
  } catch {
    return undefined
  } finally {
    terminal.close()
  }
}
