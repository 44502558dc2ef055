import { fit } from './text.ts'

/** Where a bar is drawn: `process.stderr`, so that standard output stays the command's answer. */
export interface ProgressTarget {
  isTTY?: boolean | undefined
  columns?: number | undefined
  write: (text: string) => unknown
}

export interface Progress {
  /** `done` of `total`, and a word on how it stands. */
  update: (done: number, total: number, note: string) => void
  /** Leaves the last state on the screen and ends the line. */
  end: () => void
}

/** `[#####.....]  50%  note`. A total of 0 is an empty bar. */
export function renderBar(done: number, total: number, note: string, width = 30): string {
  const share = total > 0 ? Math.min(1, Math.max(0, done / total)) : 0
  const filled = Math.round(share * width)
  const percent = String(Math.floor(share * 100)).padStart(3)
  return `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ${percent}%  ${note}`
}

/**
 * One line that is drawn again in place on a terminal, at most ten times a second; elsewhere a line for each tenth of the
 * way, so that a log does not fill.
 */
export function createProgress(target: ProgressTarget, clock: () => number): Progress {
  let drawnAt = Number.NEGATIVE_INFINITY
  let drawn = ''
  let waiting = ''
  let tenth = -1
  const draw = (line: string) => {
    target.write(`\r\u001b[2K${fit(line, (target.columns ?? 100) - 1)}`)
    drawn = line
  }
  return {
    update: (done, total, note) => {
      const line = renderBar(done, total, note)
      if (target.isTTY) {
        waiting = line
        if (clock() - drawnAt < 100 && done < total) return
        drawnAt = clock()
        if (line !== drawn) draw(line)
        return
      }
      const at = total > 0 ? Math.floor((done / total) * 10) : 0
      if (at > tenth) target.write(`${line}\n`)
      tenth = Math.max(tenth, at)
    },
    end: () => {
      if (!target.isTTY) return
      if (waiting !== drawn) draw(waiting)
      if (drawn !== '') target.write('\n')
    },
  }
}
