import { createPrivateKey, type KeyObject } from 'node:crypto'
import { isIP, isIPv6 } from 'node:net'

import { keyFamilyIn, generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { encodeGeneralName, type GeneralName } from '../../pki/x509/general-names.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import { completeIntent, newIntent, saveIntent } from '../certificates/intent.ts'
import type { Config } from '../config.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { newId } from '../ids.ts'
import type { Worker } from '../workers/worker.ts'
import type { Authorities, TlsIdentity } from './authorities.ts'
import { assertKek } from './kek-check.ts'
import { insertServerIdentity, listServerIdentities, type ServerIdentityRow } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'config' | 'kek'> & {
  authorities: Pick<Authorities, 'devices' | 'servers' | 'find' | 'bridges' | 'urls'>
}

const validityDays = 89
type ServerKey = 'P-256' | 'ML-DSA-65'
type OneIdentity = Omit<TlsIdentity, 'postQuantum'>
/** What the wrapped key of a server certificate is bound to. */
export const serverKeyContext = (certificateId: string) => `server-certificate:${certificateId}`

/**
 * The server certificates to use now: of each kind of key the newest one while it names all our hosts and has more than a
 * third of its life left, otherwise a new one (89 days).
 */
export async function currentServerCertificate(deps: Deps): Promise<TlsIdentity> {
  const rows = await listServerIdentities(deps.db, deps.authorities.servers.id)
  const first = await current(deps, rows, 'P-256')
  const second = await current(deps, rows, 'ML-DSA-65')
  // Both are renewed when the first of them is due.
  const { notBefore, notAfter } = first.notAfter <= second.notAfter ? first : second
  const { key, cert } = first
  return { key, cert, notBefore, notAfter, postQuantum: { key: second.key, cert: second.cert } }
}

async function current(
  deps: Deps,
  rows: readonly ServerIdentityRow[],
  algorithm: ServerKey,
): Promise<OneIdentity> {
  const { clock, config, kek, authorities } = deps
  for (const row of rows) {
    const certificate = parseCertificate(row.der)
    if (keyFamilyIn(certificate.spki) !== algorithm) continue
    if (!hasHosts(certificate, hostNames(config)) || isDue(certificate, clock.now())) break
    const pkcs8 = unwrapKey(kek, row.wrapped_key, serverKeyContext(row.certificate_id))
    const key = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
    return oneIdentity(certificate, key, authorities)
  }
  return await issueServerCertificate(deps, algorithm)
}

/** Renews in time, also when another process did: then its certificate is taken. */
export function serverCertificateWorker(
  ctx: Pick<Context, 'db' | 'clock' | 'log' | 'config' | 'kek' | 'authorities'>,
): Worker {
  return {
    name: 'server-certificate',
    idleMs: 3_600_000,
    step: async () => {
      if (!isDue(ctx.authorities.tls, ctx.clock.now())) return false
      ctx.authorities.renewed(await currentServerCertificate(ctx))
      return false
    },
  }
}

async function issueServerCertificate(deps: Deps, algorithm: ServerKey): Promise<OneIdentity> {
  const { db, clock, log, config, kek, authorities } = deps
  const now = clock.now()
  const key = generatePrivateKey(algorithm)
  const intent = newIntent({
    id: newId(now),
    issuer: authorities.servers,
    profile: 'server',
    subject: encodeName({ commonName: config.publicHost.slice(0, 64) }),
    spki: spkiOf(key),
    san: hostNames(config),
    days: validityDays,
    now,
    urls: authorities.urls,
  })
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  await inTransaction(db, async (tx) => {
    await assertKek(tx, kek)
    await saveIntent(tx, intent)
    await insertServerIdentity(tx, {
      certificate_id: intent.id,
      wrapped_key: wrapKey(kek, pkcs8, serverKeyContext(intent.id)),
      created_at: now,
    })
  })
  const facts = {
    kind: 'server',
    algorithm,
    subject: intent.subject,
    notAfter: intent.not_after.toISOString(),
  }
  const issued = await completeIntent(deps, intent, {
    onIssued: async (tx) => {
      const action = 'certificate.issue'
      await recordAudit(tx, { at: now, actor: 'system', action, subject: intent.id, facts })
    },
  })
  if (!issued.der) throw new Error('The server certificate was abandoned while it was made')
  log.info({ algorithm, notAfter: issued.not_after }, 'issued a server certificate')
  return oneIdentity(parseCertificate(issued.der), key, authorities)
}

function oneIdentity(
  { der, notBefore, notAfter }: Certificate,
  key: KeyObject,
  { servers, bridges }: Deps['authorities'],
): OneIdentity {
  return {
    key: key.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: [der, servers.der, ...bridges].map((one) => toPem('CERTIFICATE', one)).join(''),
    notBefore,
    notAfter,
  }
}

function isDue({ notBefore, notAfter }: { notBefore: Date; notAfter: Date }, now: Date): boolean {
  const life = notAfter.getTime() - notBefore.getTime()
  return notAfter.getTime() - now.getTime() < life / 3
}

/** The public name, and what a client on the same machine calls us. */
function hostNames({ publicHost, bind }: Pick<Config, 'publicHost' | 'bind'>): GeneralName[] {
  const isAny = bind === '0.0.0.0' || /^[0:]+$/.test(bind)
  const hosts = new Set([publicHost, 'localhost', '127.0.0.1', '::1', ...(isAny ? [] : [bind])])
  return [...hosts].map((host) =>
    isIP(host) === 0 ? { type: 'dns', value: host } : { type: 'ip', value: addressBytes(host) },
  )
}

function hasHosts({ subjectAltName = [] }: Certificate, wanted: readonly GeneralName[]): boolean {
  const bytes = (names: readonly GeneralName[]) =>
    names
      .map((name) => encodeGeneralName(name).toString('hex'))
      .toSorted()
      .join()
  return bytes(subjectAltName) === bytes(wanted)
}

/** 4 or 16 octets, network order. */
function addressBytes(address: string): Buffer {
  if (!isIPv6(address)) return Buffer.from(address.split('.').map(Number))
  // The URL parser writes an IPv6 address in its one canonical form (RFC 5952), an embedded IPv4 address included.
  const canonical = new URL(`http://[${address}]`).hostname.slice(1, -1)
  const [head = '', tail] = canonical.split('::')
  const words = (text: string) => (text === '' ? [] : text.split(':'))
  const left = words(head)
  const right = words(tail ?? '')
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right]
  return Buffer.from(groups.map((group) => group.padStart(4, '0')).join(''), 'hex')
}
