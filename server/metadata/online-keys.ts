import { createPrivateKey, type KeyObject } from 'node:crypto'

import { generateRoleKey, keyId, type TufKey, tufKeyOf } from '../../pki/tuf/keys.ts'
import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { recordAudits } from '../audit/audit.ts'
import { assertKek } from '../authorities/kek-check.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { insertOnlineKeys, listOnlineKeys, type OnlineKeyRow } from './store.ts'

export interface OnlineKey {
  tufKey: TufKey
  privateKey: KeyObject
}

/** The five keys the server signs with (updates.md 2.2). None of them makes a device install anything by itself. */
export interface OnlineKeys {
  image: { snapshot: OnlineKey; timestamp: OnlineKey }
  director: { targets: OnlineKey; snapshot: OnlineKey; timestamp: OnlineKey }
}

type Deps = Pick<Context, 'db' | 'clock' | 'kek'>

const roles = [
  ['image', 'snapshot'],
  ['image', 'timestamp'],
  ['director', 'targets'],
  ['director', 'snapshot'],
  ['director', 'timestamp'],
] as const

/** Makes the online keys that do not exist yet; for every start. Two processes that start at once agree on one set. */
export async function ensureOnlineKeys({ db, clock, kek }: Deps): Promise<void> {
  const known = await listOnlineKeys(db)
  const now = clock.now()
  const missing = roles
    .filter(([repository, role]) => !findRow(known, repository, role))
    .map(([repository, role]) => newRow(kek, repository, role, now))
  if (missing.length === 0) return
  await inTransaction(db, async (tx) => {
    await assertKek(tx, kek)
    const made = await insertOnlineKeys(tx, missing)
    await recordAudits(
      tx,
      made.map(({ repository, role, keyid }) => ({
        at: now,
        actor: 'system',
        action: 'online-key.create',
        subject: keyid,
        facts: { repository, role },
      })),
    )
  })
}

function newRow(
  kek: Buffer,
  repository: OnlineKeyRow['repository'],
  role: string,
  now: Date,
): OnlineKeyRow {
  const key = generateRoleKey()
  const tufKey = tufKeyOf(key)
  const pkcs8 = key.export({ format: 'der', type: 'pkcs8' })
  return {
    repository,
    role,
    keyid: keyId(tufKey),
    public: tufKey.keyval.public,
    wrapped_key: wrapKey(kek, pkcs8, onlineKeyContext(repository, role)),
    created_at: now,
  }
}

/** What the wrapped key of an online role is bound to. */
export function onlineKeyContext(repository: string, role: string): string {
  return `online-key/${repository}/${role}`
}

const opened = new WeakMap<Db, OnlineKeys>()

/** The online keys, opened once a process. Throws DomainError `not-ready` when they were never made. */
export async function onlineKeys({ db, kek }: Pick<Context, 'db' | 'kek'>): Promise<OnlineKeys> {
  const known = opened.get(db)
  if (known) return known
  const rows = await listOnlineKeys(db)
  const keys: OnlineKeys = {
    image: {
      snapshot: open(kek, rows, 'image', 'snapshot'),
      timestamp: open(kek, rows, 'image', 'timestamp'),
    },
    director: {
      targets: open(kek, rows, 'director', 'targets'),
      snapshot: open(kek, rows, 'director', 'snapshot'),
      timestamp: open(kek, rows, 'director', 'timestamp'),
    },
  }
  opened.set(db, keys)
  return keys
}

function open(
  kek: Buffer,
  rows: readonly OnlineKeyRow[],
  repository: OnlineKeyRow['repository'],
  role: string,
): OnlineKey {
  const row = findRow(rows, repository, role)
  if (!row) throw new DomainError('not-ready', 'The online role keys are not made yet')
  const pkcs8 = unwrapKey(kek, row.wrapped_key, onlineKeyContext(repository, role))
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  return { privateKey, tufKey: tufKeyOf(privateKey) }
}

function findRow(
  rows: readonly OnlineKeyRow[],
  repository: string,
  role: string,
): OnlineKeyRow | undefined {
  return rows.find((row) => row.repository === repository && row.role === role)
}
