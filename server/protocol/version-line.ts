/**
 * The maintenance line of a version, `major.minor` (updates.md 3.2): fixes stay on it, features begin another one. Undefined
 * for versions that are not numbered so; they have no lines.
 */
export function lineOf(version: string): string | undefined {
  const match = /^v?(\d{1,9})\.(\d{1,9})(?!\d)/.exec(version)
  return match ? `${Number(match[1])}.${Number(match[2])}` : undefined
}

/** Whether going from one version to the other leaves the line; false when either has none. */
export function leavesLine(from: string, to: string): boolean {
  const [before, after] = [lineOf(from), lineOf(to)]
  return before !== undefined && after !== undefined && before !== after
}
