import { readdirSync, readFileSync } from 'node:fs'

/** Of this process, by number: servers, peers and loads that a bench started. */
function children(): number[] {
  return readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return []
    try {
      const stat = readFileSync(`/proc/${name}/stat`, 'utf8')
      // The name of the program comes first, in parentheses, and may hold anything.
      const [, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
      return Number(parent) === process.pid ? [Number(name)] : []
    } catch {
      // It ended meanwhile.
      return []
    }
  })
}

function endChildren(signal: NodeJS.Signals): void {
  for (const pid of children()) {
    try {
      process.kill(pid, signal)
    } catch {
      // It ended meanwhile.
    }
  }
}

/** Ends what was started, and then this process: for a signal, or a bench that does not come to its end. */
export async function endAll(code: number): Promise<never> {
  endChildren('SIGTERM')
  for (let n = 0; n < 100 && children().length > 0; n++) {
    await new Promise<void>((resolve) => setTimeout(resolve, 100))
  }
  endChildren('SIGKILL')
  process.exit(code)
}

/** Once in a program. What a bench started does not outlive it. */
export function endWithSignals(): void {
  process.once('SIGINT', () => void endAll(130))
  process.once('SIGTERM', () => void endAll(143))
}
