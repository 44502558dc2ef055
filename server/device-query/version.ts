const form =
  /^v?([0-9]{1,9}(?:\.[0-9]{1,9}){0,7})(-[0-9A-Za-z.-]{1,64})?(?:\+[0-9A-Za-z.-]{1,64})?$/

/**
 * Where a version stands among others: up to eight numbers, and 0 for a pre-release (`2.4.0-rc1` is before `2.4.0`) or 1. Undefined for
 * text that has no such order; it is neither before nor after anything. `version_key` of migrations/ is the same in SQL.
 * This is for people's questions: what a device may install is decided by `build` and `svn` only.
 */
export function versionKey(version: string): number[] | undefined {
  const [, core, prerelease] = form.exec(version) ?? []
  if (core === undefined) return undefined
  const numbers = core.split('.').map(Number)
  return [
    ...numbers,
    ...Array<number>(8 - numbers.length).fill(0),
    prerelease === undefined ? 1 : 0,
  ]
}

/** Below zero when `a` is before `b`. */
export function compareVersions(a: readonly number[], b: readonly number[]): number {
  const at = a.findIndex((value, n) => value !== b[n])
  return at === -1 ? 0 : (a[at] ?? 0) - (b[at] ?? 0)
}
