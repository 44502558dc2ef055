/** Codes of what a device takes for an attack (updates.md §4); `deployments/codes.ts` holds them to the verifier's. */
export const attackCodes = {
  arbitrary: true,
  rollback: true,
  freeze: true,
  clock: true,
  'mix-and-match': true,
  'wrong-device': true,
  'wrong-hardware': true,
  dependency: true,
  'partial-bundle': true,
  'endless-data': true,
  slow: true,
  hash: true,
  evaluation: true,
  log: true,
} as const

const whileLoading: readonly string[] = ['endless-data', 'slow', 'hash']

/**
 * Codes of offers that a device refused before it loaded anything: they say what was offered, not what the device is able to do.
 * Were they held against it, whoever forges offers would keep fixes from the fleet.
 */
export const refusedOfferCodes: readonly string[] = Object.keys(attackCodes).filter(
  (code) => !whileLoading.includes(code),
)
