import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'

import { StockClient } from '../../device-sim/conformance/client.ts'
import { canonicalize } from '../../pki/tuf/canonical.ts'
import { VerificationError } from '../../pki/tuf/errors.ts'
import { keyId, type TufKey } from '../../pki/tuf/keys.ts'
import { toInstant } from '../../pki/tuf/time.ts'
import type { RepositoryState } from '../../pki/tuf/types.ts'

/*
 * A TUF repository that a test may spoil in any way, and a client of it: the means of the public conformance suite
 * (theupdateframework/tuf-conformance), written anew. Keys are P-256 in PEM, as there.
 */

export interface RoleKeys {
  keyids: string[]
  threshold: number
}
export interface MetaFile {
  version: number
  length?: number
  hashes?: Record<string, string>
}
export interface Delegation extends RoleKeys {
  name: string
  paths: string[]
  terminating: boolean
}
export interface Signed {
  _type: string
  spec_version: string
  version: number
  expires: string
  keys?: Record<string, object>
  roles?: Record<string, RoleKeys>
  meta?: Record<string, MetaFile>
  targets?: Record<string, { length: number; hashes: Record<string, string> }>
  delegations?: { keys: Record<string, object>; roles: Delegation[] }
  [name: string]: unknown
}
export interface Signer {
  key: KeyObject
  keyid: string
  public: object
}

const pool: Signer[] = []
const day = 86_400_000

function makeSigner(): Signer {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return signerOf(privateKey, 'ecdsa', 'ecdsa-sha2-nistp256')
}

export function signerOf(key: KeyObject, keytype: string, scheme: string): Signer {
  const publicKey = createPublicKey(key)
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url').toString('hex')
  const pem = publicKey.export({ format: 'pem', type: 'spki' }).toString()
  const named: TufKey = { keytype, scheme, keyval: { public: keytype === 'ed25519' ? raw : pem } }
  return { key, keyid: keyId(named), public: named }
}

/** PKCS#1 v1.5 is not among the schemes; the padding is that of PSS. */
export function signatureOf(bytes: Buffer, { key }: Signer): string {
  const algorithm = key.asymmetricKeyType === 'ed25519' ? null : 'sha256'
  const padded = key.asymmetricKeyType === 'rsa' ? { key, padding: 6, saltLength: 32 } : key
  return sign(algorithm, bytes, padded).toString('hex')
}

export class Simulator {
  now = new Date('2026-11-23T09:00:00Z')
  withHashes = false
  /** What was asked for, as `role version`, in order. */
  readonly requests: string[] = []
  readonly artifactRequests: string[] = []
  readonly artifacts = new Map<string, string>()
  readonly signed = new Map<string, Signed>()
  readonly signers = new Map<string, Signer[]>()
  /** Texts by role, the first version first. */
  readonly published = new Map<string, string[]>()
  #taken = 0

  constructor() {
    for (const role of ['targets', 'snapshot', 'timestamp', 'root']) {
      this.signed.set(role, this.#empty(role))
    }
    for (const role of ['root', 'timestamp', 'snapshot', 'targets']) this.addKey(role)
    this.publish('targets', 'snapshot', 'timestamp', 'root')
  }

  #empty(role: string): Signed {
    const type = ['root', 'timestamp', 'snapshot'].includes(role) ? role : 'targets'
    const head = { _type: type, spec_version: '1.0.31', version: 1, expires: this.in(30) }
    const none = (): RoleKeys => ({ keyids: [], threshold: 1 })
    if (type === 'targets') return { ...head, targets: {} }
    if (type === 'timestamp') return { ...head, meta: { 'snapshot.json': { version: 1 } } }
    if (type === 'snapshot') return { ...head, meta: { 'targets.json': { version: 1 } } }
    const roles = { root: none(), timestamp: none(), snapshot: none(), targets: none() }
    return { ...head, consistent_snapshot: true, keys: {}, roles }
  }

  in(days: number): string {
    return toInstant(new Date(this.now.getTime() + days * day))
  }

  of(role: string): Signed {
    const signed = this.signed.get(role)
    if (!signed) throw new Error(`There is no ${role}`)
    return signed
  }

  roleOf(role: string): RoleKeys {
    const found = this.of('root').roles?.[role]
    if (!found) throw new Error(`The root has no role ${role}`)
    return found
  }

  metaOf(role: string, file: string): MetaFile {
    const found = this.of(role).meta?.[file]
    if (!found) throw new Error(`${role} does not list ${file}`)
    return found
  }

  /** Made once and used again by the next repository: which key it is makes no difference. */
  newSigner(): Signer {
    const at = this.#taken++
    return (pool[at] ??= makeSigner())
  }

  addKey(role: string, signer = this.newSigner(), delegator = 'root'): Signer {
    const from = this.of(delegator)
    if (delegator === 'root') {
      Object.assign(from.keys ?? {}, { [signer.keyid]: signer.public })
      this.roleOf(role).keyids.push(signer.keyid)
    } else {
      Object.assign(from.delegations?.keys ?? {}, { [signer.keyid]: signer.public })
      from.delegations?.roles.find(({ name }) => name === role)?.keyids.push(signer.keyid)
    }
    this.signers.set(role, [...(this.signers.get(role) ?? []), signer])
    return signer
  }

  /** Takes all keys of a role away and gives it others. */
  setKeys(role: string, keys: readonly Signer[], threshold = 1, signing = keys): void {
    Object.assign(this.roleOf(role), { keyids: [], threshold })
    for (const key of keys) this.addKey(role, key)
    this.signers.set(role, [...signing])
  }

  rotate(role: string): void {
    this.setKeys(role, [this.newSigner()])
  }

  delegate(
    delegator: string,
    name: string,
    role: { paths?: string[]; terminating?: boolean } = {},
  ): void {
    const { paths = ['*'], terminating = false } = role
    const from = this.of(delegator)
    from.delegations ??= { keys: {}, roles: [] }
    from.delegations.roles.push({ keyids: [], name, paths, terminating, threshold: 1 })
    this.addKey(name, this.newSigner(), delegator)
    if (!this.signed.has(name)) this.signed.set(name, this.#empty(name))
  }

  addArtifact(role: string, content: string, path: string, algorithms = ['sha256']): void {
    const hashes = Object.fromEntries(
      algorithms.map((name) => [name, createHash(name).update(content).digest('hex')]),
    )
    Object.assign(this.of(role).targets ?? {}, { [path]: { hashes, length: content.length } })
    this.artifacts.set(path, content)
  }

  /** Signs the next version of each role, and names it in the file above. */
  publish(...roles: string[]): void {
    for (const role of roles) {
      const signed = this.of(role)
      const texts = this.published.get(role)
      if (texts) signed.version += 1
      const text = this.sign(role)
      this.published.set(role, [...(texts ?? []), text])
      if (role !== 'root' && role !== 'timestamp') this.#list(role, signed.version, text)
    }
  }

  #list(role: string, version: number, text: string): void {
    const facts = this.withHashes && {
      length: Buffer.byteLength(text),
      hashes: { sha256: createHash('sha256').update(text).digest('hex') },
    }
    const above = role === 'snapshot' ? 'timestamp' : 'snapshot'
    Object.assign(this.of(above).meta ?? {}, { [`${role}.json`]: { version, ...facts } })
  }

  /** As python-tuf writes it: with space, members in no order of their own. */
  sign(role: string): string {
    const signed = this.of(role)
    const bytes = canonicalize(signed)
    const signatures = (this.signers.get(role) ?? []).map((signer) => ({
      keyid: signer.keyid,
      sig: signatureOf(bytes, signer),
    }))
    return JSON.stringify({ signed, signatures }, undefined, 1)
  }

  /** Replaces what was published last by something else. */
  tamper(role: string, change: (text: string) => string): void {
    const texts = this.published.get(role) ?? []
    this.published.set(role, [...texts.slice(0, -1), change(texts.at(-1) ?? '')])
  }

  /** Starts the role over, at the version given. */
  restart(role: string, version = 1): void {
    this.published.delete(role)
    this.of(role).version = version
  }

  fetchMetadata(name: string): string | undefined {
    const [, version, encoded = ''] = /^(?:([0-9]+)\.)?(.+)\.json$/.exec(name) ?? []
    this.requests.push(version === undefined ? encoded : `${encoded} ${version}`)
    const texts = this.published.get(decodeURIComponent(encoded)) ?? []
    return version === undefined ? texts.at(-1) : texts[Number(version) - 1]
  }

  fetchTarget(name: string): string | undefined {
    this.artifactRequests.push(name)
    return this.artifacts.get(name.replace(/[0-9a-f]{64,128}\.(?=[^/]*$)/, ''))
  }

  client(initialRoot = this.published.get('root')?.[0] ?? ''): Client {
    return new Client(this, initialRoot)
  }
}

/** What the conformance command does, without files and HTTP. Each call is a program of its own. */
export class Client {
  state: RepositoryState
  readonly downloaded = new Map<string, string>()
  readonly #repository: Simulator

  constructor(repository: Simulator, root: string) {
    this.#repository = repository
    this.state = { root, delegated: {} }
  }

  #open(now: Date): StockClient {
    const repository = this.#repository
    const bytes = (text: string | undefined) => (text === undefined ? undefined : Buffer.from(text))
    return new StockClient(this.state, {
      fetchMetadata: async (name) => bytes(repository.fetchMetadata(name)),
      fetchTarget: async (path) => bytes(repository.fetchTarget(path)),
      save: async (state) => void (this.state = state),
      now: () => now,
    })
  }

  /** Whether it went through. */
  async refresh(now = this.#repository.now): Promise<boolean> {
    return await succeeds(async () => await this.#open(now).refresh())
  }

  async download(...paths: string[]): Promise<boolean> {
    return await succeeds(async () => {
      const client = this.#open(this.#repository.now)
      await client.refresh()
      for (const path of paths) {
        const { isHeld, bytes } = await client.download(path, bytesOf(this.downloaded.get(path)))
        if (!isHeld) this.downloaded.set(path, (await bytes()).toString())
      }
    })
  }

  version(role: string): number | undefined {
    const { delegated, ...top } = this.state
    const text = new Map(Object.entries({ ...delegated, ...top })).get(role)
    return text === undefined ? undefined : JSON.parse(text).signed.version
  }

  /** Top roles and their versions, as the suite compares them. */
  trusted(): string[] {
    const { delegated: _, ...top } = this.state
    return Object.keys(top).map((role) => `${role} ${this.version(role)}`)
  }
}

function bytesOf(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text)
}

async function succeeds(work: () => Promise<void>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    if (error instanceof VerificationError) return false
    throw error
  }
}
