import { toPem } from '../../pki/pem.ts'
import { DomainError } from '../errors.ts'
import type { Authorities, Issuer, Root } from './authorities.ts'
import { InstallationError } from './installation-error.ts'
import { maxNameBytes, nameBytes } from './name-budget.ts'
import { type AuthorityPurpose, type AuthorityState, defaultSeries } from './state.ts'
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
  | 'deviceIssuer'
  | 'seriesOf'
  | 'successors'
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
    ...rows.map((row) => `${row.id} ${row.state} ${row.key_destroyed_at?.getTime() ?? ''}`),
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
  const active = (purpose: AuthorityPurpose, series = defaultSeries) =>
    of(purpose).find((row) => row.state === 'active' && row.series === series)
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
  const clients = inUse.filter(isNamed).map(open)
  assertNamesFit(clients)
  return {
    revision: revisionOf(rows, links),
    root,
    devices: withKey(open(needed(active('devices'), 'devices'))),
    servers: withKey(open(serversRow)),
    claims: claims && withKey(open(claims)),
    deviceIssuers: of('devices').map(open).filter(hasKey),
    deviceIssuer: (series) => {
      const found = active('devices', series ?? defaultSeries)
      if (found) return withKey(open(found))
      throw new DomainError(
        'not-ready',
        `No authority issues for devices of the series ${series}: fleetseal authority create devices --series ${series}`,
        { series },
      )
    },
    successors: (series) => successorsIn(inUse, series ?? defaultSeries),
    seriesOf: (id) => rows.find((row) => row.id === id)?.series,
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
    clientCa: clients.map(({ der }) => toPem('CERTIFICATE', der)),
    rootPem: toPem('CERTIFICATE', root.der),
  }
}

function successorsIn(inUse: readonly AuthorityRow[], series: string): Buffer[] {
  const next = inUse.filter(
    (row) => row.purpose === 'devices' && row.series === series && row.state === 'prepared',
  )
  const roots = inUse.filter(
    ({ id, state }) => state !== 'active' && next.some((row) => row.issuer_id === id),
  )
  return [...next, ...roots].map(({ certificate }) => certificate)
}

/** Whether listeners name it to clients: roots, and issuers of client certificates. */
export function isNamed({ purpose }: Pick<AuthorityRow, 'purpose'>): boolean {
  return purpose !== 'servers'
}

function assertNamesFit(clients: readonly Root[]): void {
  const bytes = nameBytes(clients.map(({ certificate }) => certificate))
  if (bytes <= maxNameBytes) return
  throw new InstallationError(
    `The names of all authorities take ${bytes} bytes, and ${maxNameBytes} are the most that is safe in a handshake: start the version that made them, and retire some (fleetseal authority retire)`,
  )
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
