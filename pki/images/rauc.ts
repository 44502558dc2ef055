import { cmsOids } from '../cms/cms-oids.ts'
import { checkDer } from '../der/check.ts'
import { oids } from '../der/oids.ts'
import { DerReader } from '../der/reader.ts'
import { constructed, tags } from '../der/tags.ts'
import { PkiError } from '../errors.ts'
import { mostManifestBytes, readManifest, type RaucManifest } from './manifest.ts'
import { type ImageBytes, ImageError, readAt } from './source.ts'
import { looksLikeSquashfs, readSquashfsFile } from './squashfs.ts'

export interface RaucContents extends RaucManifest {
  /** Bytes of what comes before the signature: the file system, and in the verity format its hash tree. */
  contentBytes: number
}

/** RAUC refuses larger ones too. */
export const mostCmsBytes = 65_536
const lengthBytes = 8
export const manifestName = 'manifest.raucm'

/**
 * What a RAUC bundle says of itself (RAUC's reference, "Bundle Formats"): a squashfs, a CMS signature behind it, and the signature's length
 * in the last 8 bytes (without one where `isSigned` says so). In the plain format the manifest is a file of the squashfs; in the verity format the signature carries it.
 *
 * @throws ImageError `other` for a file of another format, `damaged`, or `unreadable` for an encrypted bundle and for a squashfs that is
 *   compressed in a way that is not at hand here
 */
export async function readRauc(
  source: ImageBytes,
  { isSigned = true } = {},
): Promise<RaucContents> {
  const { cms, contentBytes } = isSigned
    ? await readTrailer(source)
    : { cms: undefined, contentBytes: source.size }
  const carried = cms && manifestIn(cms)
  if (carried) {
    const manifest = readManifest(carried)
    if (manifest.format === 'plain') {
      throw new ImageError('damaged', 'Only a bundle of the verity format has its manifest signed')
    }
    return { ...manifest, contentBytes }
  }
  const content = { ...source, read: source.read.bind(source), size: contentBytes }
  const bytes = await readSquashfsFile(content, manifestName, { maxBytes: mostManifestBytes })
  return { ...readManifest(bytes), contentBytes }
}

/**
 * The signature behind a bundle, DER, and how many bytes are before it.
 *
 * @throws ImageError `other` where there is none
 */
export async function readTrailer(
  source: ImageBytes,
): Promise<{ cms: Buffer; contentBytes: number }> {
  if (source.size < 1_024 || !looksLikeSquashfs(await readAt(source, 0, 4))) {
    throw new ImageError('other', 'This is no RAUC bundle: it is no squashfs')
  }
  const length = (await readAt(source, source.size - lengthBytes, lengthBytes)).readBigUInt64BE(0)
  if (length === 0n || length > BigInt(Math.min(mostCmsBytes, source.size - lengthBytes - 512))) {
    throw new ImageError('other', 'This is no RAUC bundle: no signature follows the squashfs')
  }
  const contentBytes = source.size - lengthBytes - Number(length)
  return { cms: await readAt(source, contentBytes, Number(length)), contentBytes }
}

/** What the signature carries, where it does. */
export function manifestIn(cms: Buffer): Buffer | undefined {
  try {
    checkDer(cms, { maxBytes: mostCmsBytes, setOrder: 'report' })
    const info = new DerReader(cms, { maxBytes: mostCmsBytes }).enter(tags.sequence)
    const type = info.oid()
    if (type === cmsOids.envelopedData) {
      throw new ImageError('unreadable', 'The bundle is encrypted: only its devices can read it')
    }
    if (type !== oids.signedData) throw new ImageError('damaged', 'The signature is no CMS')
    const body = info.enter(constructed(0)).enter(tags.sequence)
    body.smallInteger()
    body.next(tags.set)
    const content = body.enter(tags.sequence)
    content.oid()
    return content.enterOptional(constructed(0))?.content(tags.octetString)
  } catch (cause) {
    if (!(cause instanceof PkiError)) throw cause
    throw new ImageError('damaged', 'The signature is no CMS', undefined, { cause })
  }
}
