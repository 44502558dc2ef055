import { VerificationError } from '../../pki/tuf/errors.ts'
import { isAsListed, limits } from '../../pki/tuf/repository.ts'
import { ownEntry } from '../../pki/tuf/shape.ts'
import { toInstant } from '../../pki/tuf/time.ts'
import type {
  ImageTarget,
  RepositoryState,
  SnapshotMetadata,
  TargetsMetadata,
} from '../../pki/tuf/types.ts'
import {
  findTarget,
  keep,
  openRepository,
  openTargets,
  requireFresh,
  type Run,
  takeSnapshot,
  takeTimestamp,
  type View,
} from '../../pki/tuf/verify.ts'
import { stockFormat } from './format.ts'

export interface Ports {
  /** The bytes of a file of the repository, or undefined when there is none (404 or 403). */
  fetchMetadata: (name: string) => Promise<Buffer | undefined>
  fetchTarget: (path: string, maxBytes: number) => Promise<Buffer | undefined>
  /** Stores what is trusted now. */
  save: (state: RepositoryState) => Promise<void>
  now: () => Date
}

interface Fresh {
  view: View
  snapshot: SnapshotMetadata
  targets: TargetsMetadata
}

/**
 * A TUF client of one repository, made of the steps of the device's verifier: it fetches a file when the steps ask for one that is
 * neither held nor sent. For the public conformance suite, which tests clients of this kind; a device gets one message instead.
 */
export class StockClient {
  readonly #ports: Ports
  readonly #run: Run
  readonly #files: Record<string, string> = {}
  #fresh: Fresh | undefined

  constructor(state: RepositoryState, ports: Ports) {
    this.#ports = ports
    this.#run = {
      state: { director: { root: '', delegated: {} }, image: state, svn: {} },
      bundle: { director: {}, image: this.#files },
      device: { allowEvaluation: true },
      format: stockFormat,
      time: toInstant(ports.now()),
    }
  }

  /** TUF 1.0.34 section 5.3 to 5.6.6. What was verified before a refusal is kept. Throws VerificationError. */
  async refresh(): Promise<void> {
    try {
      this.#fresh = await this.#follow()
    } finally {
      await this.#ports.save(this.#run.state.image)
    }
  }

  async #follow(): Promise<Fresh> {
    await this.#followRoots()
    // 5.4.1: without a new one there is no freshness, whatever is held.
    if (!(await this.#fetch('timestamp.json'))) {
      throw new VerificationError('freeze', 'There is no timestamp')
    }
    const view = openRepository(this.#run, 'image')
    const listed = takeTimestamp(view)
    const snapshotFile = `${listed.version}.snapshot.json`
    const snapshot = await this.#heldOrFetched(snapshotFile, () => takeSnapshot(view, listed))
    const version = ownEntry(snapshot.meta, 'targets.json')?.version
    const targets = await this.#heldOrFetched(`${version}.targets.json`, () => {
      const { file, text } = openTargets(view, snapshot, stockFormat.targets)
      requireFresh(this.#run, file, 'targets')
      keep(this.#run, 'image', { targets: text })
      return file
    })
    return { view, snapshot, targets }
  }

  async #followRoots(): Promise<void> {
    for (let steps = 0; steps <= limits.rotations; steps += 1) {
      const { root } = openRepository(this.#run, 'image')
      if (!(await this.#fetch(`${root.version + 1}.root.json`))) return
    }
    throw new VerificationError('endless-data', 'More root rotations than one run takes')
  }

  /** What is held is used while it verifies; only else the file is asked for (TUF 5.5.1, 5.6.1). */
  async #heldOrFetched<T>(name: string, take: () => T): Promise<T> {
    try {
      return take()
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error
      await this.#fetch(name)
      return take()
    }
  }

  async #fetch(name: string): Promise<boolean> {
    const bytes = await this.#ports.fetchMetadata(name)
    if (bytes === undefined) return false
    this.#files[name] = bytes.toString('utf8')
    return true
  }

  /**
   * Finds a target, through the delegations. `isHeld` says that `held`, what is there already, is it; else `bytes` gets it. Throws
   * VerificationError.
   */
  async download(
    path: string,
    held?: Buffer,
  ): Promise<{ isHeld: boolean; bytes: () => Promise<Buffer> }> {
    if (!this.#fresh) await this.refresh()
    const { view, snapshot, targets } = this.#fresh ?? {}
    if (!view || !snapshot || !targets) throw new Error('A refresh either succeeds or throws')
    const target = await this.#find(view, path, { snapshot, targets })
    if (!target) throw new VerificationError('arbitrary', `Nobody vouches for ${path}`)
    return {
      isHeld: held !== undefined && isTarget(held, target),
      bytes: async () => {
        const file = view.root.consistent_snapshot ? hashedName(path, target) : path
        const bytes = await this.#ports.fetchTarget(file, target.length)
        if (bytes === undefined || !isTarget(bytes, target)) {
          throw new VerificationError('hash', `${path} is not what was signed`)
        }
        return bytes
      },
    }
  }

  async #find(
    view: View,
    path: string,
    known: Pick<Fresh, 'snapshot' | 'targets'>,
  ): Promise<ImageTarget | undefined> {
    this.#forgetOlder(known.snapshot)
    // Each turn fetches one file more; the verifier itself stops at its cap of delegated roles.
    for (let turn = 0; turn <= limits.delegated; turn += 1) {
      try {
        return findTarget(view, path, known)
      } catch (error) {
        const missing = error instanceof VerificationError ? error.missing : undefined
        if (missing === undefined || !(await this.#fetch(missing))) throw error
      } finally {
        await this.#ports.save(this.#run.state.image)
      }
    }
    throw new VerificationError('endless-data', 'Too many delegated roles')
  }

  /** Held roles that the snapshot lists with another version are to be fetched. */
  #forgetOlder({ meta }: SnapshotMetadata): void {
    const { delegated } = this.#run.state.image
    const kept = Object.entries(delegated).filter(([role, text]) => {
      const listed = ownEntry(meta, `${role}.json`)
      return (
        listed !== undefined &&
        isAsListed(Buffer.from(text), listed) &&
        versionOf(text) === listed.version
      )
    })
    keep(this.#run, 'image', { delegated: Object.fromEntries(kept) })
  }
}

function versionOf(text: string): unknown {
  try {
    const { signed } = stockFormat.decode(Buffer.from(text), limits.bundle)
    return typeof signed === 'object' && !Array.isArray(signed) ? signed['version'] : undefined
  } catch {
    return undefined
  }
}

function isTarget(bytes: Buffer, { length, hashes }: ImageTarget): boolean {
  return isAsListed(bytes, { version: 1, length, hashes })
}

/** `<dir>/<hash>.<name>` (TUF 1.0.34 section 6.2). */
function hashedName(path: string, { hashes }: ImageTarget): string {
  const [hash = ''] = Object.values(hashes)
  const at = path.lastIndexOf('/') + 1
  return `${path.slice(0, at)}${hash}.${path.slice(at)}`
}
