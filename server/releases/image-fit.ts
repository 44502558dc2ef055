import { readRauc } from '../../pki/images/rauc.ts'
import { ImageError } from '../../pki/images/source.ts'
import { readSwu, type SwuContents, verifySwuImages } from '../../pki/images/swu.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { DomainError } from '../errors.ts'
import { findPollingProfile, type Release, shaOf } from './store.ts'

type Deps = Pick<Context, 'db' | 'storage' | 'log'>
type Checked = Pick<Release, 'model' | 'component' | 'version'> & {
  artifactId: string
  hardwareIds: readonly string[]
}

/**
 * Whether the client that a model's devices run could install this image as this release (ddi.md §3): a `.swu` for SWUpdate, a bundle for
 * RAUC, signed, of the release's version, for its hardware, and whole. Other clients' images say nothing that could be compared. A bundle
 * that cannot be looked into here (encrypted, or compressed with xz) is let through and logged.
 *
 * @throws DomainError `invalid-request` with what to do about it
 */
export async function requireFitting(ctx: Deps, release: Checked): Promise<void> {
  const profile = await findPollingProfile(ctx.db, release)
  if (profile !== 'swupdate' && profile !== 'rauc') return
  await using bytes = await openBytes(ctx, release.artifactId)
  try {
    if (profile === 'rauc') return requireBundle(release, await readRauc(bytes))
    const swu = await readSwu(bytes)
    requireSwu(release, swu)
    await verifySwuImages(bytes, swu)
  } catch (cause) {
    if (!(cause instanceof ImageError)) throw cause
    if (cause.code === 'unreadable') {
      const { model, component, version } = release
      ctx.log.warn({ model, component, version, because: cause.message }, 'image not checked')
      return
    }
    const client = profile === 'rauc' ? 'RAUC' : 'SWUpdate'
    throw refused(
      `Devices of this model run ${client}, which cannot install this: ${cause.message}`,
    )
  }
}

async function openBytes({ db, storage }: Deps & { db: Db }, artifactId: string) {
  const opened = await storage.open(await shaOf(db, artifactId))
  if (!opened) throw new DomainError('not-found', 'The bytes are not in the storage')
  return opened
}

function requireSwu(release: Checked, swu: SwuContents): void {
  if (!swu.isSigned) {
    throw refused(
      'The .swu is not signed, and its signature is all that SWUpdate verifies: fleetseal sign image FILE',
    )
  }
  const unhashed = swu.images.find(({ sha256 }) => sha256 === undefined)
  if (unhashed) {
    throw refused(
      `sw-description has no sha256 for ${unhashed.filename}, without which the signature does not protect it`,
    )
  }
  requireVersion(release, swu.version, 'sw-description')
  // Patterns are the device's to evaluate.
  if (swu.hardware.length === 0 || swu.hardware.some(({ revision }) => revision.startsWith('#RE:')))
    return
  const uncovered = release.hardwareIds.find((id) => !swu.hardware.some((one) => isOf(id, one)))
  if (uncovered === undefined) return
  const names = swu.hardware.map(({ board, revision }) =>
    board ? `${board}:${revision}` : revision,
  )
  throw refused(
    `sw-description is compatible with ${names.slice(0, 8).join(', ')} and not with ${uncovered}: ` +
      `list it in hardware-compatibility (and start swupdate with -H BOARD:${uncovered}), or leave it out of the release`,
  )
}

/** A revision is named like the hardware id, or like what follows the board's name in it. */
function isOf(id: string, { board, revision }: { board: string | undefined; revision: string }) {
  if (revision === id) return true
  return board !== undefined && ['-', ':', '_', '.'].some((by) => `${board}${by}${revision}` === id)
}

function requireBundle(
  release: Checked,
  { compatible, version }: { compatible: string; version: string | undefined },
): void {
  requireVersion(release, version, 'the manifest')
  if (compatible === release.model) return
  const others = release.hardwareIds.filter((id) => id !== compatible)
  if (others.length === 0) return
  throw refused(
    `The bundle is for compatible=${compatible}, the release for ${release.model}: ` +
      `build it with compatible=${release.model}, or with the hardware id where it is for one alone`,
  )
}

function requireVersion(release: Checked, version: string | undefined, where: string): void {
  // RAUC does not ask for one; SWUpdate does.
  if (version === release.version || (version === undefined && where === 'the manifest')) return
  throw refused(
    version === undefined
      ? `${where} says no version: write version = "${release.version}" into it`
      : `${where} says version ${version}, the release ${release.version}: one of them is wrong`,
  )
}

function refused(message: string): DomainError {
  return new DomainError('invalid-request', message, { at: 'artifactId' })
}
