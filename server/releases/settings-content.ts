import {
  ConfigError,
  type ConfigSchema,
  maxConfigBytes,
  readConfigSchema,
  readSettings,
} from '../../pki/config-schema.ts'
import type { Context } from '../context.ts'
import { DomainError } from '../errors.ts'
import { isSettings } from '../metadata/roles.ts'
import { getRelease, newestSchema, shaOf } from './store.ts'

type Deps = Pick<Context, 'db' | 'storage'>

/** A device would refuse them after they were signed: that is too late. Throws DomainError `invalid-request`. */
export async function requireReadable(ctx: Deps, releaseId: string): Promise<void> {
  const { component, artifact_id: artifactId } = await getRelease(ctx.db, releaseId)
  if (!isSettings(component)) return
  const bytes = await bytesOf(ctx, await shaOf(ctx.db, artifactId))
  try {
    if (component === 'cfgschema') readConfigSchema(bytes)
    else readSettings(bytes, { isExact: false })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    const message = `The bytes are no ${component === 'config' ? 'settings' : 'schema'}: ${error.message}`
    throw new DomainError('invalid-request', message, { at: 'artifactId' }, { cause: error })
  }
}

/** What the maker allows in a device's own settings now, and the release that says so; undefined when nothing does. */
export async function schemaOfModel(
  ctx: Deps,
  model: string,
): Promise<{ schema: ConfigSchema; releaseId: string } | undefined> {
  const found = await newestSchema(ctx.db, model)
  if (!found) return undefined
  const schema = readConfigSchema(await bytesOf(ctx, found.sha256))
  return { schema, releaseId: found.id }
}

async function bytesOf({ storage }: Deps, sha256: string): Promise<Buffer> {
  await using stored = await storage.open(sha256)
  if (!stored) throw new DomainError('not-found', 'The bytes are not in the storage')
  // One byte more than allowed is enough to see that there is more.
  const buffer = Buffer.alloc(maxConfigBytes + 1)
  return buffer.subarray(0, await stored.read(buffer, 0, buffer.length))
}
