/** Key algorithms a device may have, by the names of pki/algorithms.ts (a test holds the two together). */
export const keyAlgorithms = [
  'P-256',
  'P-384',
  'Ed25519',
  'RSA-2048',
  'RSA-3072',
  'RSA-4096',
  'ML-DSA-44',
  'ML-DSA-65',
  'ML-DSA-87',
] as const

/** What stands in the place of a label in EST paths, so that no profile may be called so (RFC 7030 §3.2.2). */
export const estOperations = [
  'cacerts',
  'simpleenroll',
  'simplereenroll',
  'csrattrs',
  'serverkeygen',
  'fullcmc',
] as const
export type EstOperation = (typeof estOperations)[number]
