import { ConfigError, readSettings, settingsProblems } from '../../pki/config-schema.ts'
import { uploadArtifact } from '../artifacts/service.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { wakeDevices } from '../deployments/wake.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { schemaOfModel } from '../releases/settings-content.ts'
import { assertVersion, type Versions } from '../version.ts'
import {
  type Configurable,
  type DeviceSettings,
  findDevice,
  insertSettings,
  lockNewest,
} from './store.ts'

export interface SetSettings {
  deviceId: string
  settings: Readonly<Record<string, unknown>>
  /** The revision that the newest has to have, 0 for none; whatever it is when undefined. */
  ifMatch?: Versions | undefined
  actor: string
  requestId: string
}

type Deps = Pick<Context, 'db' | 'clock' | 'config' | 'storage' | 'bus'>

/**
 * What one device shall have over its fleet's settings, all of it: what is not named falls back to the fleet's. The same again
 * changes nothing. Throws DomainError `conflict` for a device that cannot be configured, `precondition-failed`, `not-ready` while its model has no
 * published schema, `invalid-request` with `problems` for what the schema does not allow.
 */
export async function setSettings(ctx: Deps, command: SetSettings): Promise<DeviceSettings> {
  const { deviceId, ifMatch, actor, requestId } = command
  const text = textOf(command.settings)
  await requireAllowed(ctx, await findDevice(ctx.db, deviceId), text)
  const { sha256, size } = await uploadArtifact(ctx, {
    name: 'settings.json',
    source: onePiece(Buffer.from(text)),
    promisedSha256: undefined,
    actor,
    requestId,
  })
  const now = ctx.clock.now()
  const row = await inTransaction(ctx.db, async (tx) => {
    const newest = await lockNewest(tx, deviceId)
    assertVersion(String(newest?.revision ?? 0), ifMatch)
    const holds = newest?.state === 'wanted' || newest?.state === 'applied'
    if (newest && holds && newest.sha256 === sha256) return newest
    const next: DeviceSettings = {
      id: newId(now),
      device_id: deviceId,
      revision: (newest?.revision ?? 0) + 1,
      settings: text,
      sha256,
      size,
      state: 'wanted',
      commit_nonce: null,
      code: null,
      detail: null,
      created_by: actor,
      created_at: now,
      changed_at: now,
    }
    await insertSettings(tx, next)
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'device.settings',
      subject: deviceId,
      facts: {
        revision: next.revision,
        sha256,
        before: newest ? { revision: newest.revision, sha256: newest.sha256 } : null,
      },
      requestId,
    })
    return next
  })
  await wakeDevices(ctx, [deviceId])
  return row
}

function textOf(settings: SetSettings['settings']): string {
  try {
    return JSON.stringify(settings)
  } catch {
    // It was read, and is nested deeper than can be written.
    throw new DomainError('invalid-request', 'Settings are nested too deep', { at: 'settings' })
  }
}

async function requireAllowed(
  ctx: Deps,
  { model, installed }: Configurable,
  text: string,
): Promise<void> {
  const components = Array.isArray(installed) ? installed : []
  if (model === null || !components.some((one) => one?.component === 'overrides')) {
    throw new DomainError(
      'conflict',
      'This device has no settings of its own: its maker names the component "overrides"',
    )
  }
  const found = await schemaOfModel(ctx, model)
  if (!found) {
    throw new DomainError(
      'not-ready',
      `${model} has no schema of settings: publish a release of ${model}/cfgschema first`,
      { model },
    )
  }
  const problems = problemsOf(text, found.schema)
  if (problems.length === 0) return
  const message = `The schema of ${model} does not allow these settings: ${problems[0]}`
  throw new DomainError('invalid-request', message, { at: 'settings', problems })
}

function problemsOf(text: string, schema: Parameters<typeof settingsProblems>[0]): string[] {
  try {
    return settingsProblems(schema, readSettings(Buffer.from(text), { isExact: true }))
  } catch (error) {
    if (error instanceof ConfigError) return [error.message]
    throw error
  }
}

async function* onePiece(bytes: Buffer): AsyncIterable<Buffer> {
  yield bytes
}
