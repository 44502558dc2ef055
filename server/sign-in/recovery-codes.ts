import { createHash, randomInt } from 'node:crypto'

export const recoveryCodeCount = 10

/** Without 0, 1, I, L, O and U: what is written down by hand is read again. */
const alphabet = '23456789ABCDEFGHJKMNPQRSTVWXYZ'
const half = 8

/** Ten codes of 16 characters in two halves, 78 bits each: too many to guess, so that the hash needs no stretching. */
export function newRecoveryCodes(): string[] {
  return Array.from({ length: recoveryCodeCount }, () => `${piece()}-${piece()}`)
}

/** SHA-256 of a code, 32 bytes, however it was typed. @param personId the code of another person has another hash */
export function hashRecoveryCode(personId: string, code: string): Buffer {
  const plain = code.toUpperCase().replaceAll(/[^0-9A-Z]/g, '')
  return createHash('sha256').update(`${personId}\0${plain}`).digest()
}

function piece(): string {
  return Array.from({ length: half }, () => alphabet[randomInt(alphabet.length)]).join('')
}
