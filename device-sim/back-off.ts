/** The first try of a fleet that lost its server is spread over so long. */
const firstMs = 2_000

/**
 * How long a device waits before its next try to connect. Full jitter: tries of devices that failed in the same moment are spread over the
 * whole time, and not over its later half. A server that says it cannot serve now (CONNACK 3) gets twice as long, and is not asked in the
 * first half of it.
 *
 * @param failures tries that failed before this one, since a connection that was good
 * @param random from 0 to below 1
 * @returns milliseconds, at most `maxMs`
 */
export function backOffMs(
  failures: number,
  {
    maxMs,
    isAsked,
    random = Math.random,
  }: { maxMs: number; isAsked: boolean; random?: () => number },
): number {
  const longest = Math.min(firstMs * 2 ** (Math.min(failures, 20) + (isAsked ? 1 : 0)), maxMs)
  return isAsked ? longest * (0.5 + random() / 2) : longest * random()
}
