import { runProgram } from '../cli/program.ts'

export interface Operator {
  /** Runs `fleetseal …` as typed, shows the line, and gives its `--json` answer. Throws when it exits with anything but 0. */
  fleetseal: <T = Record<string, unknown>>(...args: string[]) => Promise<T>
}

/** An operator at the command line, with the administrator's key and the root that the server made. */
export function createOperator(
  environment: Record<string, string | undefined>,
  say: (line: string) => void,
): Operator {
  return {
    fleetseal: async <T>(...args: string[]) => {
      say(`  $ fleetseal ${args.map(quoted).join(' ')}`)
      let out = ''
      let errors = ''
      const code = await runProgram([...args, '--json'], {
        env: environment,
        stdout: { write: (text) => (out += text) },
        stderr: { write: (text) => (errors += text) },
        ask: async () => undefined,
        now: () => new Date(),
        sleep: async (ms) => await new Promise((resolve) => setTimeout(resolve, ms)),
        signal: new AbortController().signal,
      })
      if (code !== 0)
        throw new Error(`fleetseal ${args.join(' ')} ended with ${code}: ${errors || out}`)
      return (out.trim() === '' ? {} : JSON.parse(out)) as T
    },
  }
}

function quoted(arg: string): string {
  return /^[\w@%+=:,./-]+$/.test(arg) ? arg : `'${arg.replaceAll("'", `'\\''`)}'`
}
