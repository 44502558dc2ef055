import type { Crl } from '../../pki/crl/parse.ts'
import { PkiError } from '../../pki/errors.ts'
import { type Certificate, fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import { readRootCrl } from '../certificates/root-crl.ts'
import type { Config } from '../config.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import type { PublicUrls } from './authorities.ts'
import type { InstallationDeps } from './bootstrap.ts'
import { dataPaths } from './data-dir.ts'
import { hasCode, readOptional, writeAtomically } from './files.ts'
import { makeHierarchy, untouched } from './hierarchy.ts'
import { InstallationError } from './installation-error.ts'
import { deleteRequest, listRequests, type RequestRow } from './request-store.ts'
import { makeRequest, readAnswer, rowOf } from './requests.ts'
import { nameOf, readRootFile } from './roots.ts'
import { defaultSeries } from './state.ts'
import {
  type AuthorityRow,
  findActive,
  findAuthority,
  insertAuthorities,
  lockInstallation,
} from './store.ts'

const maxFileBytes = 65_536

/**
 * What the first start makes: the whole hierarchy, or, below a root whose key is elsewhere, the keys of the issuers and the
 * requests to certify them. Nothing is stored here.
 *
 * @throws InstallationError for a root file that cannot be used
 */
export async function firstAuthorities(making: {
  kek: Buffer
  now: Date
  urls: PublicUrls
  config: Pick<Config, 'rootFile' | 'pkcs11'>
}): Promise<{ authorities: AuthorityRow[]; requests: RequestRow[]; rootCrl?: Crl }> {
  const { config, kek, now, urls } = making
  const { rootFile } = config
  if (rootFile === undefined) {
    return { authorities: await makeHierarchy({ kek, now, urls, config }), requests: [] }
  }
  const { certificate, crl } = await readRoot(rootFile, now)
  const root = rootRow(certificate, now)
  const below = { id: root.id, certificate }
  const ask = async (purpose: 'devices' | 'servers') =>
    await makeRequest({
      kek,
      now,
      urls,
      config,
      id: newId(now),
      purpose,
      root: below,
      hasCrl: crl !== undefined,
    })
  const requests = [await ask('devices'), await ask('servers')]
  return { authorities: [root], requests, ...(crl ? { rootCrl: crl } : {}) }
}

/** The file may also hold the root's list: then what is below the root points to it from the beginning. */
async function readRoot(path: string, now: Date): Promise<{ certificate: Certificate; crl?: Crl }> {
  try {
    const bytes = await readOptional(path, maxFileBytes)
    if (!bytes) throw new InstallationError(`FLEETSEAL_ROOT_FILE: there is no ${path}`)
    const text = bytes.toString('utf8')
    const certificate = readRootFile(text).root
    if (!text.includes('BEGIN X509 CRL')) return { certificate }
    return { certificate, crl: readRootCrl(text, certificate, now) }
  } catch (error) {
    if (error instanceof PkiError || error instanceof DomainError) {
      throw new InstallationError(`FLEETSEAL_ROOT_FILE ${path}: ${error.message}`, { cause: error })
    }
    if (hasCode(error, 'EACCES')) {
      throw new InstallationError(`FLEETSEAL_ROOT_FILE ${path} may not be read by this user`)
    }
    throw error
  }
}

function rootRow(root: Certificate, now: Date): AuthorityRow {
  return {
    id: newId(now),
    purpose: 'root',
    name: nameOf(root),
    state: 'active',
    series: defaultSeries,
    issuer_id: null,
    certificate: root.der,
    wrapped_key: null,
    key_uri: null,
    ...untouched,
    created_at: now,
    changed_at: now,
  }
}

/**
 * Below a root whose key is elsewhere the first start ends before there is anything to serve: it leaves request files, and
 * a later start takes the answers. May be cut short and repeated anywhere.
 *
 * @throws InstallationError that says which files to carry where, as long as answers are missing
 */
export async function completeBelowRoot(deps: InstallationDeps): Promise<void> {
  const { db, config } = deps
  const paths = dataPaths(config)
  const missing: string[] = []
  for (const request of await listRequests(db)) {
    const { purpose, series } = request
    // Requests of a running server are answered by its interface, and it does not need the others to start.
    const isNeeded = purpose !== 'claims' && series === defaultSeries
    if (!isNeeded || (await findActive(db, purpose))) continue
    const answer = await readOptional(paths.answer(purpose), maxFileBytes)
    if (answer) {
      await take(deps, request, answer.toString('utf8'))
      continue
    }
    await writeAtomically(paths.request(purpose), request.request, 0o644)
    missing.push(purpose)
  }
  if (missing.length === 0) return
  const list = (path: (purpose: string) => string) => missing.map(path).join(' and ')
  throw new InstallationError(
    `The root has to certify this server's authorities. On the root's machine: fleetseal ceremony sign for ${list(paths.request)}. ` +
      `Put the answers at ${list(paths.answer)} and start again`,
  )
}

async function take(deps: InstallationDeps, request: RequestRow, answer: string): Promise<void> {
  const { db, clock, log, config } = deps
  const now = clock.now()
  const rootRow = await findAuthority(db, request.root_id)
  if (!rootRow) throw new InstallationError('The database has no root authority: restore it')
  const issued = readChecked(dataPaths(config).answer(request.purpose), () =>
    readAnswer(answer, request, parseCertificate(rootRow.certificate)),
  )
  await inTransaction(db, async (tx) => {
    await lockInstallation(tx)
    // Another process that starts at the same time was first.
    if (await findAuthority(tx, request.id)) return
    await insertAuthorities(tx, [{ ...rowOf(request, issued, now), state: 'active' }])
    await deleteRequest(tx, request.id)
    await recordAudit(tx, {
      at: now,
      actor: 'system',
      action: 'authority.create',
      subject: request.id,
      facts: { purpose: request.purpose, name: request.name, fingerprint: fingerprint(issued.der) },
    })
  })
  log.info({ purpose: request.purpose }, "took the root's answer")
}

function readChecked<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw new InstallationError(`${path}: ${error.message}`, { cause: error })
  }
}
