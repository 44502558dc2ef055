import { toPem } from '../../pki/pem.ts'
import { recordAudit } from '../audit/audit.ts'
import { storeRootCrl } from '../certificates/root-crl.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { newId } from '../ids.ts'
import { derivedApiKeySecret, insertApiKey } from '../operators/admin-key.ts'
import { publicUrls } from './authorities.ts'
import { dataPaths, installationState, reachState } from './data-dir.ts'
import { writeAtomically } from './files.ts'
import { completeBelowRoot, firstAuthorities } from './first-authorities.ts'
import { InstallationError } from './installation-error.ts'
import { newKekCheck } from './kek-check.ts'
import { settleKek } from './kek-swap.ts'
import { insertRequest } from './request-store.ts'
import {
  type AuthorityRow,
  findFirstApiKey,
  findInstallation,
  insertAuthorities,
  insertInstallation,
  listAuthorities,
  lockInstallation,
} from './store.ts'

export type InstallationDeps = Pick<Context, 'db' | 'clock' | 'log' | 'config' | 'kek'>

/**
 * On the first start makes root, issuers and the administrator's API key, in one transaction under an advisory lock: of
 * several processes that start together one makes them. Then, on every start until it succeeded once, writes the files
 * that are derived from the database. So a crash anywhere is completed by the next start.
 *
 * @throws InstallationError when the database was made with another key-encryption key; nothing is written then
 */
export async function bootstrapAuthorities(deps: InstallationDeps): Promise<void> {
  const { config } = deps
  if (!(await isInstalled(deps))) {
    // Before anything of value is in the database: from here on it and the key belong together.
    await reachState(config, 'created')
    await install(deps)
  }
  await reachState(config, 'created')
  await writeFiles(deps)
  await completeBelowRoot(deps)
}

/**
 * For a process that joins an installation and never makes one: the key-encryption key has to be that of the database.
 *
 * @throws InstallationError when it is another, or when there is no installation
 */
export async function joinInstallation(deps: InstallationDeps): Promise<void> {
  if (!(await isInstalled(deps))) {
    throw new InstallationError(
      'There is no installation in this database yet, and a broker makes none: start the process with FLEETSEAL_ROLE=api (or all) first',
    )
  }
  await reachState(deps.config, 'ready')
}

/** Verifies the key-encryption key against the database. False when there is no installation yet. */
async function isInstalled({ db, config, kek }: InstallationDeps): Promise<boolean> {
  const installation = await findInstallation(db)
  if (!installation) return false
  if (await settleKek(config, kek, installation.kek_check)) return true
  throw new InstallationError(
    'The keys in this database are encrypted with another key-encryption key: point FLEETSEAL_KEK_FILE (or FLEETSEAL_DATA_DIR) to the one it was made with',
  )
}

async function install(deps: InstallationDeps): Promise<void> {
  const { db, clock, log, config, kek } = deps
  const now = clock.now()
  const urls = publicUrls(config.publicHost, config.ports.public)
  const { authorities, requests, rootCrl } = await firstAuthorities({ kek, now, urls, config })
  const apiKeyId = newId(now)
  const { prefix, hash } = derivedApiKeySecret(kek, apiKeyId)
  const kekCheck = newKekCheck(kek)
  const isOurs = await inTransaction(db, async (tx) => {
    await lockInstallation(tx)
    if (await findInstallation(tx)) return false
    await insertInstallation(tx, kekCheck, now)
    await insertAuthorities(tx, authorities)
    for (const request of requests) await insertRequest(tx, request)
    const root = authorities.find(({ purpose }) => purpose === 'root')
    if (rootCrl && root) await storeRootCrl(tx, { authorityId: root.id, crl: rootCrl })
    await insertApiKey(tx, {
      id: apiKeyId,
      name: 'administrator of the first start',
      role: 'admin',
      prefix,
      hash,
      createdBy: 'system',
      createdAt: now,
    })
    await recordAudit(tx, {
      at: now,
      actor: 'system',
      action: 'installation.create',
      subject: apiKeyId,
      facts: { authorities: authorities.map(({ id, purpose, name }) => ({ id, purpose, name })) },
    })
    return true
  })
  if (isOurs) log.info({ authorities: authorities.length }, 'made the certificate authorities')
  // Another process was first: its key-encryption key has to be ours.
  else await isInstalled(deps)
}

async function writeFiles({ db, log, config, kek }: InstallationDeps): Promise<void> {
  const root = rootOf(await listAuthorities(db))
  const paths = dataPaths(config)
  // Public, and small: written on every start, so that what a client trusts is there even after somebody lost it.
  await writeAtomically(paths.rootPem, toPem('CERTIFICATE', root.certificate), 0o644)
  if ((await installationState(config)) === 'ready') return
  const apiKey = await findFirstApiKey(db)
  if (apiKey) {
    const derived = derivedApiKeySecret(kek, apiKey.id)
    if (derived.hash.equals(apiKey.hash)) {
      await writeAtomically(paths.adminApiKey, `${derived.secret}\n`)
      log.info({ file: paths.adminApiKey }, 'wrote the administrator API key')
    }
  }
  await reachState(config, 'ready')
}

function rootOf(rows: readonly AuthorityRow[]): AuthorityRow {
  const root = rows.find(({ purpose, state }) => purpose === 'root' && state === 'active')
  if (!root)
    throw new InstallationError('The database has no root authority: restore it from a backup')
  return root
}
