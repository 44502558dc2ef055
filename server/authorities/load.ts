import { parseCertificate } from '../../pki/x509/parse.ts'
import { type Authorities, publicUrls, type Root, type TlsIdentity } from './authorities.ts'
import { signerOf } from './authority-key.ts'
import type { InstallationDeps } from './bootstrap.ts'
import { currentServerCertificate } from './server-certificate.ts'
import { type AuthorityRow, listAuthorities, listRootLinks } from './store.ts'
import { arrange, type Arranged, revisionOf } from './trust.ts'

/** Loads what `bootstrapAuthorities` made, and issues a server certificate when the one there is does not serve. */
export async function loadAuthorities(deps: InstallationDeps): Promise<Authorities> {
  const live = new LiveAuthorities(deps)
  await live.reload()
  return live.authorities
}

/** Follows the database: what an operator changes in one process is taken over by every other. */
class LiveAuthorities {
  readonly #deps: InstallationDeps
  readonly #known = new Map<string, Root>()
  readonly #listeners: ((tls: TlsIdentity) => void)[] = []
  readonly authorities: Authorities
  #arranged: Arranged | undefined
  #tls: TlsIdentity | undefined
  #reloading: Promise<void> = Promise.resolve()

  constructor(deps: InstallationDeps) {
    this.#deps = deps
    this.authorities = this.#view()
  }

  /** One after the other, so that an older answer of the database never replaces a newer one. */
  async reload(): Promise<void> {
    const next = this.#reloading.then(() => this.#read())
    this.#reloading = next.catch(() => {})
    await next
  }

  async #read(): Promise<void> {
    const { db } = this.#deps
    const [rows, links] = [await listAuthorities(db), await listRootLinks(db)]
    const before = this.#arranged
    if (before?.revision === revisionOf(rows, links)) return
    const next = arrange(rows, links, (row) => this.#open(row))
    const isNewServer = before?.servers.id !== next.servers.id
    const chain = (from: Arranged | undefined) => Buffer.concat([...(from?.bridges ?? [])])
    // Before anything is taken over: a process that cannot have a certificate goes on with the one before.
    const tls =
      isNewServer || !chain(before).equals(chain(next))
        ? await currentServerCertificate({
            ...this.#deps,
            authorities: { ...this.#urls(), ...next },
          })
        : undefined
    this.#arranged = next
    if (tls) this.#tls = tls
    if (before) this.#announce()
  }

  /** Keys that are open stay open: they are the same whatever they are wrapped with. */
  #open(row: AuthorityRow): Root {
    const known = this.#known.get(row.id)
    if (known && row.key_destroyed_at === null) return known
    const { id, certificate } = row
    const opened = {
      id,
      der: certificate,
      certificate: parseCertificate(certificate),
      signer: signerOf(row, this.#deps),
    }
    this.#known.set(id, opened)
    return opened
  }

  #announce(): void {
    for (const listener of this.#listeners) listener(this.authorities.tls)
  }

  #now(): Arranged {
    if (!this.#arranged) throw new Error('The authorities are not loaded yet')
    return this.#arranged
  }

  #urls() {
    return { urls: this.authorities.urls }
  }

  #view(): Authorities {
    const { config } = this.#deps
    const now = () => this.#now()
    const tls = () => {
      if (!this.#tls) throw new Error('There is no server certificate yet')
      return this.#tls
    }
    return {
      get root() {
        return now().root
      },
      get devices() {
        return now().devices
      },
      get servers() {
        return now().servers
      },
      get claims() {
        return now().claims
      },
      get deviceIssuers() {
        return now().deviceIssuers
      },
      deviceIssuer: (series) => now().deviceIssuer(series),
      successors: (series) => now().successors(series),
      seriesOf: (id) => now().seriesOf(id),
      get distributed() {
        return now().distributed
      },
      get bridges() {
        return now().bridges
      },
      get clientCa() {
        return now().clientCa
      },
      get rootPem() {
        return now().rootPem
      },
      get tls() {
        return tls()
      },
      find: (id) => now().find(id),
      urls: publicUrls(config.publicHost, config.ports.public),
      onRenewal: (listener) => void this.#listeners.push(listener),
      renewed: (renewed) => {
        this.#tls = renewed
        this.#announce()
      },
      reload: () => this.reload(),
    }
  }
}
