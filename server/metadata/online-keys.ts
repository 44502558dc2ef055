import { createPrivateKey, type KeyObject } from 'node:crypto'

import { generateRoleKey, keyId, type TufKey, tufKeyOf } from '../../pki/tuf/keys.ts'
import type { RootMetadata } from '../../pki/tuf/types.ts'
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

export const onlineRoles = [
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
  const missing = onlineRoles
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
    next_keyid: null,
    next_public: null,
    next_wrapped_key: null,
    next_created_at: null,
  }
}

/** What the wrapped key of an online role is bound to. */
export function onlineKeyContext(repository: string, role: string): string {
  return `online-key/${repository}/${role}`
}

/** All keys that can be opened now: the ones in use, and those that wait for a root that names them. */
export interface HeldKeys {
  active: OnlineKeys
  /** By `repository/role`, then by key id. */
  byRole: ReadonlyMap<string, ReadonlyMap<string, OnlineKey>>
}

const opened = new WeakMap<Db, HeldKeys>()

/** The online keys in use. Throws DomainError `not-ready` when they were never made. */
export async function onlineKeys(ctx: Pick<Context, 'db' | 'kek'>): Promise<OnlineKeys> {
  return (await heldKeys(ctx)).active
}

/** Opens what the database holds now, and remembers it. Throws DomainError `not-ready` when nothing was made yet. */
export async function heldKeys({ db, kek }: Pick<Context, 'db' | 'kek'>): Promise<HeldKeys> {
  const rows = await listOnlineKeys(db)
  const known = opened.get(db)?.byRole
  const byRole = new Map<string, Map<string, OnlineKey>>()
  for (const row of rows) {
    const name = `${row.repository}/${row.role}`
    const ofRole = new Map<string, OnlineKey>()
    byRole.set(name, ofRole)
    const context = onlineKeyContext(row.repository, row.role)
    const keys = [
      { keyid: row.keyid, wrapped: row.wrapped_key },
      { keyid: row.next_keyid, wrapped: row.next_wrapped_key },
    ]
    for (const { keyid, wrapped } of keys) {
      if (keyid === null || wrapped === null) continue
      ofRole.set(keyid, known?.get(name)?.get(keyid) ?? open(kek, wrapped, context))
    }
  }
  const keyOf = (repository: OnlineKeyRow['repository'], role: string): OnlineKey => {
    const keyid = findRow(rows, repository, role)?.keyid ?? ''
    const key = byRole.get(`${repository}/${role}`)?.get(keyid)
    if (key) return key
    throw new DomainError('not-ready', 'The online role keys are not made yet')
  }
  const active: OnlineKeys = {
    image: { snapshot: keyOf('image', 'snapshot'), timestamp: keyOf('image', 'timestamp') },
    director: {
      targets: keyOf('director', 'targets'),
      snapshot: keyOf('director', 'snapshot'),
      timestamp: keyOf('director', 'timestamp'),
    },
  }
  const held = { active, byRole }
  opened.set(db, held)
  return held
}

function open(kek: Buffer, wrapped: Buffer, context: string): OnlineKey {
  const pkcs8 = unwrapKey(kek, wrapped, context)
  const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
  return { privateKey, tufKey: tufKeyOf(privateKey) }
}

/** The roots that say which key signs which online role. */
export interface Roots {
  image: RootMetadata
  director: RootMetadata
}

/** The keys that these roots name; undefined when one of them is not held here. */
export function keysNamedBy(
  { image, director }: Roots,
  { byRole }: Pick<HeldKeys, 'byRole'>,
): OnlineKeys | undefined {
  const [imageSnapshot, imageTimestamp, targets, snapshot, timestamp] = onlineRoles.map(
    ([repository, role]) => {
      const { keyids } = (repository === 'image' ? image : director).roles[role]
      return byRole.get(`${repository}/${role}`)?.get(keyids[0] ?? '')
    },
  )
  if (!imageSnapshot || !imageTimestamp || !targets || !snapshot || !timestamp) return undefined
  return {
    image: { snapshot: imageSnapshot, timestamp: imageTimestamp },
    director: { targets, snapshot, timestamp },
  }
}

/**
 * The keys of these roots, as this process knows them; asks the database when it does not. Another process may have published
 * a root with other keys since `roots` were read: undefined then, and they are to be read again.
 */
export async function onlineKeysOf(
  ctx: Pick<Context, 'db' | 'kek'>,
  roots: Roots,
): Promise<OnlineKeys | undefined> {
  const known = opened.get(ctx.db)
  return (known && keysNamedBy(roots, known)) ?? keysNamedBy(roots, await heldKeys(ctx))
}

/** Makes a private key to replace the one of a role, wrapped for its row. */
export function nextKeyOf(
  kek: Buffer,
  { repository, role }: Pick<OnlineKeyRow, 'repository' | 'role'>,
  now: Date,
): OnlineKeyRow {
  return newRow(kek, repository, role, now)
}

function findRow(
  rows: readonly OnlineKeyRow[],
  repository: string,
  role: string,
): OnlineKeyRow | undefined {
  return rows.find((row) => row.repository === repository && row.role === role)
}
