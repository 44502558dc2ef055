import type { Surroundings } from './command.ts'
import { Failure, usageError } from './failure.ts'
import type { Passphrase } from './sign/key-folder.ts'
import type { Review } from './sign/sign.ts'
import { isTokenFile } from './sign/token-key.ts'
import { plain } from './text.ts'

/** Shows what a draft changes and asks for its version number, unless the command line named it. */
export function askConfirmation(
  { ask, stderr }: Pick<Surroundings, 'ask' | 'stderr'>,
  confirmed: string | undefined,
): (review: Review) => Promise<string> {
  return async ({ repository, role, version, expires, lines }) => {
    const head = `${repository} repository, ${role}, version ${version}, until ${expires}`
    for (const line of [head, ...lines]) stderr.write(`${plain(line)}\n`)
    if (confirmed !== undefined) return confirmed
    const typed = await ask(`Type the version number (${version}) to sign this: `)
    if (typed !== undefined) return typed
    throw usageError(
      'Nobody can be asked here',
      `Look at the lines above, then add --confirm ${version}`,
    )
  }
}

export function askPassphrase({ ask }: Pick<Surroundings, 'ask'>): Passphrase {
  return async (file) => {
    const typed = await ask(`Passphrase of ${file}: `, true)
    if (typed !== undefined) return typed
    throw new Failure('passphrase', `${file} needs its passphrase, and nobody can be asked here`)
  }
}

/** A token's PIN is asked each time, whatever is known of the passphrases of files. */
export function passphraseOr(
  passphrase: Passphrase,
  { ask }: Pick<Surroundings, 'ask'>,
): Passphrase {
  return async (file) => {
    if (!isTokenFile(file)) return await passphrase(file)
    const typed = await ask(`PIN of ${file}: `, true)
    if (typed !== undefined) return typed
    throw new Failure('passphrase', `${file} needs its PIN, and nobody can be asked here`)
  }
}

const minLength = 12

/** Asks twice, and again until both agree and it is not too short. */
export function askNewPassphrase({
  ask,
  stderr,
}: Pick<Surroundings, 'ask' | 'stderr'>): Passphrase {
  return async (file) => {
    for (;;) {
      const typed = await ask(`New passphrase of ${file}: `, true)
      if (typed === undefined) {
        throw new Failure('passphrase', 'Production keys need passphrases that a person types', {
          nextStep: 'Run it at a terminal, or use --evaluation for trying out',
        })
      }
      if (typed.length < minLength) {
        stderr.write(`At least ${minLength} characters.\n`)
        continue
      }
      if (typed === (await ask('Again: ', true))) return typed
      stderr.write('They differ.\n')
    }
  }
}
