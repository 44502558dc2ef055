import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const modulePath = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib64/softhsm/libsofthsm2.so'].find(
  existsSync,
)

function canLoad(name: string): boolean {
  try {
    createRequire(import.meta.url)(name)
    return true
  } catch {
    return false
  }
}

/** Why there is no token to test with; undefined when there is. */
export const noToken =
  modulePath === undefined || spawnSync('softhsm2-util', ['--version']).error
    ? 'SoftHSM is missing on this machine: package softhsm2'
    : canLoad('pkcs11js')
      ? undefined
      : 'pkcs11js is not installed: npm install --no-save pkcs11js@2.1.7'

export const tokenPin = '24680-pin'

export interface SoftToken {
  label: string
  modulePath: string
  /** `pkcs11:token=…;object=NAME`, without the module. */
  uri: (object: string) => string
  pinFile: string
  /** For processes that are to see the token. */
  environment: { SOFTHSM2_CONF: string }
  /** Pulls the token out, and puts it in again. */
  unplug: () => void
  plug: () => void
  [Symbol.dispose]: () => void
}

/** A SoftHSM with one token, in a folder of its own. Of this process it becomes the one that the library sees. */
export function makeToken(label = 'fleet'): SoftToken {
  if (modulePath === undefined) throw new Error('SoftHSM is missing')
  const dir = mkdtempSync(join(tmpdir(), 'fleetseal-token-'))
  const tokens = join(dir, 'tokens')
  mkdirSync(tokens)
  const conf = join(dir, 'softhsm2.conf')
  writeFileSync(conf, `directories.tokendir = ${tokens}\nobjectstore.backend = file\n`)
  const environment = { SOFTHSM2_CONF: conf }
  Object.assign(process.env, environment)
  const made = spawnSync(
    'softhsm2-util',
    ['--init-token', '--free', '--label', label, '--so-pin', '13579-so', '--pin', tokenPin],
    { env: { ...process.env, ...environment }, encoding: 'utf8' },
  )
  if (made.status !== 0) throw new Error(made.stderr)
  const pinFile = join(dir, 'pin')
  writeFileSync(pinFile, `${tokenPin}\n`, { mode: 0o600 })
  return {
    label,
    modulePath,
    uri: (object) => `pkcs11:token=${label};object=${object}`,
    pinFile,
    environment,
    unplug: () => {
      renameSync(tokens, `${tokens}-away`)
      mkdirSync(tokens)
    },
    plug: () => {
      rmSync(tokens, { recursive: true })
      renameSync(`${tokens}-away`, tokens)
    },
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  }
}
