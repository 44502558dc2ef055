import type { Context } from '../context.ts'
import type { HeaderFault } from '../proxy-header.ts'

const quietMs = 60_000

/**
 * What an HTTPS listener does when a connection from `FLEETSEAL_PROXY_FROM` is closed for want of a PROXY header: each one is
 * counted, and a line in the log at most once a minute says how many there were. A balancer that sends none, or somebody on
 * its machine who goes around it, comes many times a second.
 */
export function proxyFaults(
  { log, metrics }: Pick<Context, 'log' | 'metrics'>,
  monotonicMs: () => number = () => performance.now(),
): (fault: HeaderFault, from: string | undefined) => void {
  let closed = 0
  let saidAt = -Infinity
  return (fault, from) => {
    metrics.proxyRefused.inc({ fault })
    // Health checks and port scans open and close: that is counted, not recorded.
    if (fault === 'gone') return
    closed += 1
    const now = monotonicMs()
    if (now - saidAt < quietMs) return
    log.warn(
      { fault, from, closed },
      'connections from FLEETSEAL_PROXY_FROM were closed: they did not begin with a PROXY header of version 2',
    )
    closed = 0
    saidAt = now
  }
}
