import { createHash } from 'node:crypto'

import { PkiError } from './errors.ts'
import {
  ck,
  ckr,
  ckrOf,
  type Handle,
  type LibraryLoader,
  loadLibrary,
  type Pkcs11Library,
} from './pkcs11-binding.ts'
import { moduleAt, type Pkcs11Module } from './pkcs11-module.ts'
import type { Pkcs11Uri } from './pkcs11-uri.ts'

export interface TokenAccess {
  /** Absolute path of the library that speaks to the token. */
  readonly modulePath: string
  /** Asked each time somebody logs in, so that it need not be kept. */
  readonly pin: () => Promise<string> | string
  readonly load?: LibraryLoader | undefined
  /** Milliseconds since anything. */
  readonly now?: (() => number) | undefined
}

/** Operations at one token at a time; the rest wait in line, up to a bound. */
const maxSessions = 8
const maxWaiting = 2_000
/** A library may take seconds to say no, and holds up the event loop meanwhile. */
const failFastMs = 500

/**
 * A token: logs in, keeps sessions, and begins anew when it was pulled out and put in again. A PIN that the token refused is
 * not tried a second time, since the third wrong one locks most tokens.
 */
export class Pkcs11Token {
  readonly #uri: Pkcs11Uri
  readonly #access: Omit<TokenAccess, 'pin'>
  readonly #idle: Handle[] = []
  readonly #waiting: (() => void)[] = []
  #busy = 0
  #refusedPin: string | undefined
  #failed: { error: unknown; at: number } | undefined

  constructor(uri: Pkcs11Uri, access: Omit<TokenAccess, 'pin'>) {
    this.#uri = uri
    this.#access = access
  }

  /**
   * Does something in a session of its own, logged in. With a session from before, a failure is tried once more with a new
   * one: the token may have been away.
   *
   * @throws PkiError `token`
   */
  async use<T>(
    pin: TokenAccess['pin'],
    work: (library: Pkcs11Library, session: Handle) => Promise<T>,
  ): Promise<T> {
    await this.#enter()
    try {
      const { modulePath, load = loadLibrary } = this.#access
      const module = await moduleAt(modulePath, load)
      const kept = this.#idle.pop()
      if (kept) {
        try {
          return await this.#run(module, kept, work)
        } catch (error) {
          if (error instanceof PkiError) throw error
          for (const session of this.#idle.splice(0)) module.close(session)
        }
      }
      return await this.#run(module, await this.#open(module, pin), work)
    } catch (error) {
      throw asTokenError(error)
    } finally {
      this.#leave()
    }
  }

  async #run<T>(
    module: Pkcs11Module,
    session: Handle,
    work: (library: Pkcs11Library, session: Handle) => Promise<T>,
  ): Promise<T> {
    try {
      const result = await work(module.library, session)
      this.#idle.push(session)
      return result
    } catch (error) {
      // It may be in the middle of an operation.
      module.close(session)
      throw error
    }
  }

  async #open(module: Pkcs11Module, pin: TokenAccess['pin']): Promise<Handle> {
    const { now = () => performance.now() } = this.#access
    if (this.#failed && now() - this.#failed.at < failFastMs) throw this.#failed.error
    try {
      const session = this.#openNow(module, await pin())
      this.#failed = undefined
      return session
    } catch (error) {
      this.#failed = { error, at: now() }
      throw error
    }
  }

  #openNow(module: Pkcs11Module, pin: string): Handle {
    const session = module.openSession(this.#uri)
    try {
      this.#logIn(module.library, session, pin)
      return session
    } catch (error) {
      module.close(session)
      throw error
    }
  }

  #logIn(library: Pkcs11Library, session: Handle, pin: string): void {
    const mark = createHash('sha256').update(pin).digest('hex')
    if (mark === this.#refusedPin) throw wrongPin()
    try {
      library.C_Login(session, ck.user, pin)
    } catch (error) {
      switch (ckrOf(error)) {
        case ckr.alreadyLoggedIn:
          return
        case ckr.pinLocked:
          throw new PkiError('token', 'The token is locked: its security officer has to unlock it')
        case ckr.pinIncorrect:
        case ckr.pinExpired:
          this.#refusedPin = mark
          throw wrongPin()
        case undefined:
        default:
          throw error
      }
    }
  }

  async #enter(): Promise<void> {
    if (this.#busy < maxSessions) {
      this.#busy += 1
      return
    }
    if (this.#waiting.length >= maxWaiting) {
      throw new PkiError('token', 'Too many operations wait for the token: try again')
    }
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  /** Whoever waits first takes the place over. */
  #leave(): void {
    const next = this.#waiting.shift()
    if (next) next()
    else this.#busy -= 1
  }
}

const tokens = new WeakMap<LibraryLoader, Map<string, Pkcs11Token>>()
const maxTokens = 64

/** The token of a URI; one of each in a process, whose sessions everybody shares. @throws PkiError `token` */
export function tokenAt(uri: Pkcs11Uri, access: Omit<TokenAccess, 'pin'>): Pkcs11Token {
  const { load = loadLibrary, modulePath } = access
  const known = tokens.get(load) ?? new Map<string, Pkcs11Token>()
  tokens.set(load, known)
  const name = JSON.stringify([modulePath, uri.token, uri.serial])
  const token = known.get(name) ?? new Pkcs11Token(uri, access)
  if (!known.has(name) && known.size >= maxTokens) {
    throw new PkiError('token', `At most ${maxTokens} tokens are used`)
  }
  known.set(name, token)
  return token
}

function wrongPin(): PkiError {
  return new PkiError('token', 'The token refused the PIN; it is not tried again until it changes')
}

/** In our words, with the library's name for the reason and nothing else of it. */
function asTokenError(error: unknown): unknown {
  if (error instanceof PkiError || ckrOf(error) === undefined) return error
  const [, name = 'an unknown reason'] =
    /^(CKR_[A-Z_0-9]+)/.exec(String((error as Error).message)) ?? []
  return new PkiError('token', `The token refuses: ${name}`, undefined, { cause: error })
}
