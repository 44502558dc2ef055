import { setTimeout as sleep } from 'node:timers/promises'

/** What downloads have in common, by whichever way they come (updates.md section 4, step 10, and section 6). */
export interface Wanted {
  sha256: string
  /** Bytes. */
  length: number
  /** Where it is kept until it is whole; what is there already is not fetched again. */
  part: string
  /** Shorter ways to the same bytes, best first. */
  forms?: readonly Form[]
}

/** What may be fetched in an image's place, and what it takes to make the image of it (updates.md section 5). */
export interface Form {
  method: 'delta-z1' | 'zstd'
  sha256: string
  /** Bytes. */
  length: number
  /** Of a delta: the image it starts from, and its own first bytes. */
  base?: { file: string; sha256: string; length: number }
  index?: { length: number; sha256: string }
}

export interface DownloadRules {
  minRateBytes: number
  minRateWindowMs: number
  bytesPerSecond?: number | undefined
  /** Which way the bytes come (updates.md section 6); `auto` begins with HTTPS and takes the other when one is not reachable. */
  delivery: 'https' | 'mqtt' | 'auto'
  /** How long a chunk is waited for before it is asked for again; doubled up to 5 minutes. */
  chunkRepairMs: number
}

interface InterruptionFacts {
  waitMs?: number | undefined
  isUnreachable?: boolean
}

/** Not the artifact's fault: the server is away, restarts or is busy. Waited out and not counted. */
export class Interruption extends Error {
  override readonly name = 'Interruption'
  readonly waitMs: number | undefined
  /** Nothing came through this way, so another may be tried. */
  readonly isUnreachable: boolean

  constructor(message: string, { waitMs, isUnreachable = false }: InterruptionFacts = {}) {
    super(message)
    this.waitMs = waitMs
    this.isUnreachable = isUnreachable
  }
}

/** Counts as a try; `isFinal` when trying again cannot help. */
export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: string
  readonly isFinal: boolean

  constructor(code: string, message: string, isFinal: boolean) {
    super(message)
    this.code = code
    this.isFinal = isFinal
  }
}

/** What was fetched in an image's place does not make the image. */
export class UnusableForm extends Error {
  override readonly name = 'UnusableForm'
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

export interface RateGuard {
  count: (bytes: number) => void
  stop: () => void
  readonly tripped: boolean
}

/** Says when less than the least rate comes over a window; a server that drips must not hold a device. */
export function rateGuard(
  { minRateBytes, minRateWindowMs }: DownloadRules,
  onSlow: () => void,
): RateGuard {
  let bytes = 0
  let tripped = false
  const timer = setInterval(() => {
    if (bytes < (minRateBytes * minRateWindowMs) / 1000) {
      tripped = true
      onSlow()
    }
    bytes = 0
  }, minRateWindowMs)
  return {
    count: (more) => void (bytes += more),
    stop: () => clearInterval(timer),
    get tripped() {
      return tripped
    },
  }
}

/** Slows a transfer down to a rate that a test asks for. */
export function pacer(bytesPerSecond: number | undefined, signal: AbortSignal) {
  const start = performance.now()
  let total = 0
  return async (bytes: number): Promise<void> => {
    if (bytesPerSecond === undefined) return
    total += bytes
    const aheadMs = (total / bytesPerSecond) * 1000 - (performance.now() - start)
    if (aheadMs > 5) await sleep(aheadMs, undefined, { signal }).catch(() => {})
  }
}
