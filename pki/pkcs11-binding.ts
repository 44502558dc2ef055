import { PkiError } from './errors.ts'

/** A handle of the library, opaque. */
export type Handle = Buffer

export interface Attribute {
  readonly type: number
  readonly value?: number | boolean | string | Buffer
}

export interface Mechanism {
  readonly mechanism: number
  readonly parameter: null
}

/** What we use of the npm package pkcs11js, which is PKCS #11 v2.40 under its own names. */
export interface Pkcs11Library {
  readonly C_Initialize: (options: { flags: number }) => void
  readonly C_Finalize: () => void
  readonly C_GetSlotList: (tokenPresent: boolean) => Handle[]
  readonly C_GetTokenInfo: (slot: Handle) => { label: string; serialNumber: string }
  readonly C_OpenSession: (slot: Handle, flags: number) => Handle
  readonly C_CloseSession: (session: Handle) => void
  readonly C_Login: (session: Handle, user: number, pin: string) => void
  readonly C_FindObjectsInit: (session: Handle, template: readonly Attribute[]) => void
  readonly C_FindObjects: (session: Handle, max: number) => Handle[]
  readonly C_FindObjectsFinal: (session: Handle) => void
  readonly C_GetAttributeValue: (
    session: Handle,
    object: Handle,
    template: readonly Attribute[],
  ) => { type: number; value: Buffer }[]
  readonly C_GenerateKeyPairAsync: (
    session: Handle,
    mechanism: Mechanism,
    publicTemplate: readonly Attribute[],
    privateTemplate: readonly Attribute[],
  ) => Promise<{ publicKey: Handle; privateKey: Handle }>
  readonly C_SignInit: (session: Handle, mechanism: Mechanism, key: Handle) => void
  readonly C_SignAsync: (session: Handle, data: Buffer, out: Buffer) => Promise<Buffer>
  readonly C_DestroyObject: (session: Handle, object: Handle) => void
}

/** Gives the library at a path, loaded and not initialized. */
export type LibraryLoader = (path: string) => Promise<Pkcs11Library>

/** Numbers of the PKCS #11 v2.40 and v3.0 headers. */
export const ck = {
  osLockingOk: 0x2,
  rwSession: 0x2,
  serialSession: 0x4,
  user: 1,
  class: { type: 0x0, publicKey: 0x2, privateKey: 0x3 },
  attribute: {
    token: 0x1,
    private: 0x2,
    label: 0x3,
    keyType: 0x100,
    id: 0x102,
    sensitive: 0x103,
    sign: 0x108,
    verify: 0x10a,
    modulus: 0x120,
    modulusBits: 0x121,
    publicExponent: 0x122,
    extractable: 0x162,
    ecParams: 0x180,
    ecPoint: 0x181,
  },
  keyType: { rsa: 0x0, ec: 0x3, edwards: 0x40 },
  mechanism: {
    rsaKeyPair: 0x0,
    sha256Rsa: 0x40,
    ecKeyPair: 0x1040,
    ecdsa: 0x1041,
    edwardsKeyPair: 0x1055,
    eddsa: 0x1057,
  },
} as const

/** CKR_… numbers that mean something to us. */
export const ckr = {
  pinIncorrect: 0xa0,
  pinLocked: 0xa4,
  pinExpired: 0xa3,
  alreadyLoggedIn: 0x100,
  alreadyInitialized: 0x191,
} as const

const packageName = 'pkcs11js'
export const installCommand = 'npm install --no-save pkcs11js@2.1.7'

/**
 * Loads a PKCS #11 library through pkcs11js, which is compiled where it is installed and therefore not a dependency of
 * everybody.
 *
 * @throws PkiError `token` that names the command when the package is missing
 */
export const loadLibrary: LibraryLoader = async (path) => {
  const { PKCS11 } = await loadPackage()
  const library = new PKCS11()
  try {
    library.load(path)
  } catch (cause) {
    throw new PkiError('token', `${path} is no PKCS #11 library that can be loaded`, undefined, {
      cause,
    })
  }
  return library
}

type Constructor = new () => Pkcs11Library & { load: (path: string) => void }

async function loadPackage(): Promise<{ PKCS11: Constructor }> {
  try {
    const found: unknown = await import(packageName)
    if (isPackage(found)) return found
  } catch (cause) {
    throw new PkiError(
      'token',
      `Keys in tokens need the package pkcs11js, which is not installed: ${installCommand} (a C++ compiler is needed)`,
      undefined,
      { cause },
    )
  }
  throw new PkiError('token', `The package pkcs11js is of another version: ${installCommand}`)
}

function isPackage(found: unknown): found is { PKCS11: Constructor } {
  return (
    typeof found === 'object' &&
    found !== null &&
    'PKCS11' in found &&
    typeof found.PKCS11 === 'function'
  )
}

/** The CKR_… number of an error of the library; undefined for other errors. */
export function ckrOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'number' ? error.code : undefined
}
