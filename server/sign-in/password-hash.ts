import { argon2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

import { HashQueue } from './hash-queue.ts'

/** OWASP Password Storage Cheat Sheet, Argon2id: 19 MiB, two passes, one lane. */
const memory = 19_456
const passes = 2
const saltBytes = 16
const tagBytes = 32

/** Two of them leave the other threads of the pool to files and names; the wait of the last is below two seconds. */
const queue = new HashQueue({ atOnce: 2, waiting: 30 })

const derive = promisify(argon2)
const phc =
  /^\$argon2id\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=1\$([A-Za-z0-9+/]{22})\$([A-Za-z0-9+/]{43})$/

/**
 * Argon2id (RFC 9106) with a fresh salt, in the PHC string format.
 *
 * @throws DomainError `busy` when too many are being reckoned
 */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(saltBytes)
  const tag = await reckon(password, { salt, m: memory, t: passes })
  return `$argon2id$v=19$m=${memory},t=${passes},p=1$${unpadded(salt)}$${unpadded(tag)}`
}

/**
 * Whether a password is the one that was hashed. Without a hash, the answer is no after the same work: how long it takes does not tell whether there is
 * an account.
 *
 * @throws DomainError `busy` when too many are being reckoned
 */
export async function isPassword(password: string, hash: string | undefined): Promise<boolean> {
  const [, m, t, salt = '', tag = ''] = phc.exec(hash ?? nobodys) ?? []
  const expected = Buffer.from(tag, 'base64')
  const given = await reckon(password, {
    salt: Buffer.from(salt, 'base64'),
    m: Number(m),
    t: Number(t),
  })
  return expected.length === given.length && timingSafeEqual(expected, given) && hash !== undefined
}

/** Made with other parameters than those of today: to be hashed anew while the password is at hand. */
export function isOutdated(hash: string): boolean {
  const [, m, t] = phc.exec(hash) ?? []
  return Number(m) !== memory || Number(t) !== passes
}

const nobodys = `$argon2id$v=19$m=${memory},t=${passes},p=1$${unpadded(randomBytes(saltBytes))}$${unpadded(randomBytes(tagBytes))}`

async function reckon(
  password: string,
  { salt, m, t }: { salt: Buffer; m: number; t: number },
): Promise<Buffer> {
  return await queue.run(
    async () =>
      await derive('argon2id', {
        // The same characters typed on another keyboard (NIST SP 800-63B section 5.1.1.2).
        message: password.normalize('NFKC'),
        nonce: salt,
        parallelism: 1,
        tagLength: tagBytes,
        memory: m,
        passes: t,
      }),
  )
}

function unpadded(bytes: Buffer): string {
  return bytes.toString('base64').replaceAll('=', '')
}
