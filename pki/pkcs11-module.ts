import { PkiError } from './errors.ts'
import {
  ck,
  ckr,
  ckrOf,
  type Handle,
  type LibraryLoader,
  type Pkcs11Library,
} from './pkcs11-binding.ts'
import type { Pkcs11Uri } from './pkcs11-uri.ts'

const maxModules = 4

/** A PKCS #11 library, initialized. There is one of each in a process, which is how the libraries want it. */
export class Pkcs11Module {
  readonly library: Pkcs11Library
  #sessions = 0

  constructor(library: Pkcs11Library) {
    this.library = library
    try {
      library.C_Initialize({ flags: ck.osLockingOk })
    } catch (error) {
      if (ckrOf(error) !== ckr.alreadyInitialized) throw error
    }
  }

  /** @throws PkiError `token` when there is not exactly one such token */
  openSession(uri: Pkcs11Uri): Handle {
    const slot = this.#findSlot(uri)
    const session = this.library.C_OpenSession(slot, ck.serialSession | ck.rwSession)
    this.#sessions += 1
    return session
  }

  close(session: Handle): void {
    this.#sessions -= 1
    try {
      this.library.C_CloseSession(session)
    } catch {
      // Gone with the token.
    }
  }

  #findSlot(uri: Pkcs11Uri): Handle {
    const found = this.#slotsOf(uri)
    const [slot, ...more] = found.length > 0 ? found : this.#beginAnew(uri)
    if (!slot) throw new PkiError('token', `There is no ${nameOf(uri)}: is it plugged in?`)
    if (more.length > 0) {
      throw new PkiError('token', `There are several tokens like ${nameOf(uri)}: add serial=…`)
    }
    return slot
  }

  /** Some libraries look for tokens only when they begin; that would break off what somebody else is doing. */
  #beginAnew(uri: Pkcs11Uri): Handle[] {
    if (this.#sessions > 0) return []
    this.library.C_Finalize()
    this.library.C_Initialize({ flags: ck.osLockingOk })
    return this.#slotsOf(uri)
  }

  #slotsOf({ token, serial }: Pkcs11Uri): Handle[] {
    return this.library.C_GetSlotList(true).filter((slot) => {
      const info = this.#infoOf(slot)
      if (!info) return false
      const isToken = token === undefined || trimmed(info.label) === token
      return isToken && (serial === undefined || trimmed(info.serialNumber) === serial)
    })
  }

  /** Undefined when the token was pulled out meanwhile. */
  #infoOf(slot: Handle): { label: string; serialNumber: string } | undefined {
    try {
      return this.library.C_GetTokenInfo(slot)
    } catch (error) {
      if (ckrOf(error) === undefined) throw error
      return undefined
    }
  }
}

/** Fields of a fixed width are filled up with spaces, and by some with NUL. */
function trimmed(text: string): string {
  return text.replace(/[ \0]+$/, '')
}

function nameOf({ token, serial }: Pkcs11Uri): string {
  return `token ${[token, serial].filter((part) => part !== undefined).join(' ')}`
}

const modules = new WeakMap<LibraryLoader, Map<string, Promise<Pkcs11Module>>>()

/** The library at a path; another attempt when it could not be loaded before. @throws PkiError `token` */
export async function moduleAt(path: string, load: LibraryLoader): Promise<Pkcs11Module> {
  const byPath = modules.get(load) ?? new Map<string, Promise<Pkcs11Module>>()
  modules.set(load, byPath)
  const known = byPath.get(path)
  if (known) return await known
  if (byPath.size >= maxModules) throw new PkiError('token', 'Too many PKCS #11 libraries')
  const opening = load(path).then((library) => new Pkcs11Module(library))
  byPath.set(path, opening)
  try {
    return await opening
  } catch (error) {
    byPath.delete(path)
    throw error
  }
}
