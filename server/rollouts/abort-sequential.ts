/**
 * Does a release fail more often than updates of this fleet usually do? Wald's sequential test, which may look after every
 * single device without being fooled by looking often, and needs nothing but the two counts (rollouts.md §7).
 */

/** How often at most a release that is no worse than usual is stopped, over the whole rollout, however large. */
export const falseStops = 0.001
const threshold = Math.log(1 / falseStops)

/** Of what is taken for usual: below, chance alone would be suspicious; above, nothing would be. */
export const usualBounds = { least: 0.002, most: 0.2 }

/** The share of failures that the test tells from `usual`: three times as many, and two in a hundred more at least. */
export function suspect(usual: number): number {
  return Math.max(3 * usual, usual + 0.02)
}

/**
 * What is usual, from what became of devices in earlier rollouts, kept inside the bounds. As if 200 more had been seen of
 * which one failed: a fleet without a history has a half percent, and a few devices do not make one.
 */
export function usualShare({ failed, executed }: { failed: number; executed: number }): number {
  const share = (failed + 1) / (executed + 200)
  return Math.min(Math.max(share, usualBounds.least), usualBounds.most)
}

/** How much likelier the counts are if the release is bad than if it is as usual: the logarithm of that ratio. */
export function evidence(
  { succeeded, failed }: { succeeded: number; failed: number },
  usual: number,
): number {
  const bad = suspect(usual)
  return failed * Math.log(bad / usual) + succeeded * Math.log((1 - bad) / (1 - usual))
}

/**
 * For a release that is as good as `usual` the chance that this is ever true is at most `falseStops` (the ratio is a
 * martingale: Ville's inequality); of one as bad as `suspect` or worse it becomes true sooner or later.
 */
export function isUnusual(counts: { succeeded: number; failed: number }, usual: number): boolean {
  return evidence(counts, usual) >= threshold
}
