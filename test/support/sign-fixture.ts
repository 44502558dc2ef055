import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Failure } from '../../cli/failure.ts'
import type { Draft } from '../../cli/sign/draft.ts'
import { initKeys, type OnlineKeys } from '../../cli/sign/init.ts'
import type { PublicPart } from '../../cli/sign/key-folder.ts'
import { sha256Of } from '../../cli/sign/sha256.ts'
import { signDraft, type SignOptions } from '../../cli/sign/sign.ts'
import { buildModelTargets, buildTargets, firmwareDelegation } from '../../pki/tuf/build.ts'
import { encodeEnvelope } from '../../pki/tuf/envelope.ts'
import { generateRoleKey, type TufKey, tufKeyOf } from '../../pki/tuf/keys.ts'
import type { PqScheme } from '../../pki/tuf/post-quantum.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import { type Build, World } from './tuf-fixture.ts'

export const now = new Date('2026-11-23T09:00:00Z')

export function newTufKey(): TufKey {
  return tufKeyOf(generateRoleKey())
}

export const onlineKeys: OnlineKeys = {
  image: { snapshot: newTufKey(), timestamp: newTufKey() },
  director: { targets: newTufKey(), snapshot: newTufKey(), timestamp: newTufKey() },
}

/** Two of the three release keys. */
export const twoKeys = { keyFiles: ['release.pem', 'qa.pem'] }

/** A key folder after the ceremony, and the image targets that delegate model gate-2 to its release keys. */
export class Signer {
  targets = ''
  #log = ''
  #outputs = 0
  readonly home: string
  readonly keysDir: string
  readonly published: PublicPart

  private constructor(home: string, published: PublicPart) {
    this.home = home
    this.keysDir = join(home, 'keys')
    this.published = published
  }

  /** Takes a second or two: keys are encrypted as slowly as they have to be. */
  static async create({ postQuantum }: { postQuantum?: PqScheme } = {}): Promise<Signer> {
    const home = mkdtempSync(join(tmpdir(), 'fleetseal-sign-'))
    const dir = join(home, 'keys')
    const published = await initKeys({
      dir,
      evaluation: true,
      onlineKeys,
      now,
      ...(postQuantum && { postQuantum }),
    })
    const signer = new Signer(home, published)
    const pqKeys = published.releasePqKeys
    const keys = {
      keys: published.releaseKeys,
      threshold: 2,
      ...(pqKeys && { pq: { keys: pqKeys, threshold: 2 } }),
    }
    const signed = buildTargets({
      version: 2,
      expiresAt: latestExpiry('targets', now),
      delegations: [firmwareDelegation('gate-2', keys)],
    })
    const draft = signer.draftOf('targets', signed, { previous: published.image.targets })
    const keyFiles = ['image-targets-1.pem', 'image-targets-2.pem']
    const { signatures, pqSignatures } = await signDraft({ ...signer.options(draft), keyFiles })
    signer.targets = encodeEnvelope(signed, signatures, pqSignatures).toString()
    signer.#log = signer.readLogText()
    return signer
  }

  remove(): void {
    rmSync(this.home, { recursive: true })
  }

  get logFile(): string {
    return join(this.keysDir, 'signing-log.jsonl')
  }

  readLogText(): string {
    return readFileSync(this.logFile, 'utf8')
  }

  /** Back to what was signed when the folder was made. */
  forget(): void {
    writeFileSync(this.logFile, this.#log)
  }

  draftOf(role: string, signed: Buffer, more: Partial<Draft> = {}): Draft {
    const { version, expires } = JSON.parse(signed.toString())
    return {
      repository: 'image',
      role,
      version,
      expires,
      signed: signed.toString(),
      signedSha256: sha256Of(signed),
      rootChain: [this.published.image.root],
      ...more,
    }
  }

  firmwareDraft(version: number, builds: Build[], previous?: string): Draft {
    const more = { targets: this.targets, ...(previous && { previous }) }
    return this.draftOf('fw-gate-2', firmware(version, builds), more)
  }

  options(draft: Draft): SignOptions {
    this.#outputs += 1
    const out = join(this.home, `signature-${this.#outputs}.json`)
    return { draft, keysDir: this.keysDir, confirm: ({ version }) => String(version), out, now }
  }

  /** A published version of the model role. */
  async signFirmware(version: number, builds: Build[]): Promise<string> {
    const draft = this.firmwareDraft(version, builds)
    const { signatures, pqSignatures } = await signDraft({ ...this.options(draft), ...twoKeys })
    return encodeEnvelope(Buffer.from(draft.signed), signatures, pqSignatures).toString()
  }
}

function firmware(version: number, builds: Build[]): Buffer {
  const world = new World()
  for (const build of builds) world.addBuild(build)
  const expiresAt = latestExpiry('model', now)
  return buildModelTargets({ version, expiresAt, model: 'gate-2', targets: world.builds })
}

export async function failureOf(attempt: () => Promise<unknown>): Promise<Failure> {
  try {
    await attempt()
  } catch (error) {
    if (error instanceof Failure) return error
    throw error
  }
  throw new Error('It went through')
}
