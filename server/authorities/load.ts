import { createPrivateKey } from 'node:crypto'

import { toPem } from '../../pki/pem.ts'
import { type Signer, softwareSigner } from '../../pki/signer.ts'
import { unwrapKey } from '../../pki/wrap.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { type Authorities, type Issuer, publicUrls, type TlsIdentity } from './authorities.ts'
import type { InstallationDeps } from './bootstrap.ts'
import { authorityKeyContext } from './hierarchy.ts'
import { InstallationError } from './installation-error.ts'
import { currentServerCertificate } from './server-certificate.ts'
import { type AuthorityRow, listActiveAuthorities } from './store.ts'

/** Loads what `bootstrapAuthorities` made, and issues a server certificate when the one there is does not serve. */
export async function loadAuthorities(deps: InstallationDeps): Promise<Authorities> {
  const { db, config, kek } = deps
  const rows = await listActiveAuthorities(db)
  const rootRow = only(rows, 'root')
  const root = { ...readRow(rootRow), signer: signerOf(rootRow, kek) }
  const devices = issuerOf(only(rows, 'devices'), kek)
  const servers = issuerOf(only(rows, 'servers'), kek)
  const urls = publicUrls(config.publicHost, config.ports.public)
  const rootPem = toPem('CERTIFICATE', root.der)
  let tls = await currentServerCertificate({ ...deps, authorities: { devices, servers, urls } })
  const listeners: ((tls: TlsIdentity) => void)[] = []
  return {
    root,
    devices,
    servers,
    rootPem,
    clientCa: [rootPem, toPem('CERTIFICATE', devices.der)],
    urls,
    get tls() {
      return tls
    },
    onRenewal: (listener) => void listeners.push(listener),
    renewed: (renewed) => {
      tls = renewed
      for (const listener of listeners) listener(renewed)
    },
  }
}

function only(rows: readonly AuthorityRow[], purpose: AuthorityRow['purpose']): AuthorityRow {
  const row = rows.find((candidate) => candidate.purpose === purpose)
  if (row) return row
  throw new InstallationError(
    `The database has no active authority for ${purpose}: restore it from a backup`,
  )
}

function readRow({ id, certificate }: AuthorityRow) {
  return { id, der: certificate, certificate: parseCertificate(certificate) }
}

function issuerOf(row: AuthorityRow, kek: Buffer): Issuer {
  const signer = signerOf(row, kek)
  if (!signer)
    throw new InstallationError(`The key of the authority ${row.name} is not in the database`)
  return { ...readRow(row), signer }
}

function signerOf({ id, wrapped_key: wrapped }: AuthorityRow, kek: Buffer): Signer | undefined {
  if (!wrapped) return undefined
  const pkcs8 = unwrapKey(kek, wrapped, authorityKeyContext(id))
  return softwareSigner(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }))
}
