import type { AttackCode } from '../../pki/tuf/errors.ts'

/** Why a device refuses an update, for its owner. */
const reasons: Readonly<Record<AttackCode, string>> = {
  arbitrary: 'it is not signed, or not made, as it must be',
  rollback: 'it is older than what this device has seen already',
  freeze: 'what vouches for it has expired',
  clock: 'it cannot be told what time it is',
  'mix-and-match': 'its parts do not belong together',
  'wrong-device': 'it is for another device',
  'wrong-hardware': 'it is for other hardware',
  dependency: 'another version must be installed before it',
  'partial-bundle': 'it needs a newer version of another component',
  'endless-data': 'more was sent than was announced',
  slow: 'it was sent too slowly',
  hash: 'what arrived is not what was signed',
  log: 'the public record of updates does not show it',
  evaluation: 'it is signed with keys that were made for trying the product out',
}

/** Undefined for a code of anything that merely went wrong. */
export function refusalInWords(code: string | undefined): string | undefined {
  return new Map<string | undefined, string>(Object.entries(reasons)).get(code)
}
