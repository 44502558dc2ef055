import { toPem } from '../../pki/pem.ts'
import type { Authorities, Issuer, Root } from './authorities.ts'
import { InstallationError } from './installation-error.ts'
import type { AuthorityPurpose, AuthorityState } from './state.ts'
import type { AuthorityRow, RootLinkRow } from './store.ts'

/** What follows from the authorities there are: who issues, who is accepted, what is given out. */
export interface Arranged extends Pick<
  Authorities,
  | 'root'
  | 'devices'
  | 'servers'
  | 'claims'
  | 'find'
  | 'deviceIssuers'
  | 'distributed'
  | 'bridges'
  | 'clientCa'
  | 'rootPem'
> {
  revision: string
}

/** Changes whenever anything that is arranged does. */
export function revisionOf(rows: readonly AuthorityRow[], links: readonly RootLinkRow[]): string {
  return [
    ...rows.map(({ id, state }) => `${id} ${state}`),
    ...links.map((link) => `${link.old_id} ${link.new_id}`),
  ].join()
}

const order: readonly AuthorityState[] = ['active', 'prepared', 'accepted']

/**
 * Arranges authorities by what they may do. Pure, except for `open`, which opens the key of a row.
 *
 * @throws InstallationError when an authority that is needed is missing, or its key
 */
export function arrange(
  rows: readonly AuthorityRow[],
  links: readonly RootLinkRow[],
  open: (row: AuthorityRow) => Root,
): Arranged {
  const inUse = rows
    .filter(({ state }) => state !== 'retired')
    .toSorted((a, b) => order.indexOf(a.state) - order.indexOf(b.state))
  const of = (purpose: AuthorityPurpose) => inUse.filter((row) => row.purpose === purpose)
  const active = (purpose: AuthorityPurpose) => of(purpose).find(({ state }) => state === 'active')
  const root = open(needed(active('root'), 'root'))
  const serversRow = needed(active('servers'), 'servers')
  const claims = active('claims')
  const opened = new Map(rows.map((row) => [row.id, open(row)]))
  const roots = of('root').map(open)
  const live = new Set(roots.map(({ id }) => id))
  // Who knows a retired root alone must still find the way to the next; nobody is led back to it.
  const forward = links.filter((link) => live.has(link.new_id))
  const back = forward.filter((link) => live.has(link.old_id))
  const issuers = [...of('devices'), ...of('servers'), ...of('claims')].map(open)
  const accepted = [...of('devices'), ...of('claims')].map(open)
  return {
    revision: revisionOf(rows, links),
    root,
    devices: withKey(open(needed(active('devices'), 'devices'))),
    servers: withKey(open(serversRow)),
    claims: claims && withKey(open(claims)),
    deviceIssuers: of('devices').map(open).filter(hasKey),
    find: (id) => {
      const found = opened.get(id)
      return found && hasKey(found) ? found : undefined
    },
    // The bridges before the roots they lead to: some clients take the first certificate of a name.
    distributed: [
      ...forward.map((link) => link.new_with_old),
      ...back.map((link) => link.old_with_new),
      ...roots.map(({ der }) => der),
      ...issuers.map(({ der }) => der),
    ],
    bridges: bridgesTo(serversRow.issuer_id, { forward, back }),
    clientCa: [...roots, ...accepted].map(({ der }) => toPem('CERTIFICATE', der)),
    rootPem: toPem('CERTIFICATE', root.der),
  }
}

/** For those who know only another root than the one above an issuer. */
function bridgesTo(
  rootId: string | null,
  { forward, back }: { forward: readonly RootLinkRow[]; back: readonly RootLinkRow[] },
): Buffer[] {
  return [
    ...forward.filter((link) => link.new_id === rootId).map((link) => link.new_with_old),
    ...back.filter((link) => link.old_id === rootId).map((link) => link.old_with_new),
  ]
}

function needed(row: AuthorityRow | undefined, purpose: AuthorityPurpose): AuthorityRow {
  if (row) return row
  throw new InstallationError(
    `The database has no active authority for ${purpose}: restore it from a backup`,
  )
}

function hasKey(authority: Root): authority is Issuer {
  return authority.signer !== undefined
}

function withKey(authority: Root): Issuer {
  if (hasKey(authority)) return authority
  throw new InstallationError(
    `The key of the authority ${authority.id} is not in the database: restore it from a backup`,
  )
}
