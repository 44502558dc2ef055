const mostCareFirst = ['feature', 'security', 'config'] as const

type ReleaseClass = (typeof mostCareFirst)[number]

/** Of releases that are installed together, the class that leaves the owner most: no feature comes along with a fix unasked. */
export function classOfSet(classes: readonly ReleaseClass[]): ReleaseClass {
  return mostCareFirst.find((one) => classes.includes(one)) ?? 'config'
}
