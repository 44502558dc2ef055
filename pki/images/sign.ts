import { createHash } from 'node:crypto'

import { readCertificateHead } from '../cms/certificate-id.ts'
import { signingMethod } from '../cms/cms-algorithms.ts'
import { buildSignedData } from '../cms/signed-data-build.ts'
import type { Signer } from '../signer.ts'
import { padded, writeEntry } from './cpio.ts'
import { manifestIn, readRauc, type RaucContents, readTrailer } from './rauc.ts'
import { type ImageBytes, ImageError, piecesOf, readAt } from './source.ts'
import { looksLikeSquashfs, squashfsBytes } from './squashfs.ts'
import { readSwu, signatureName, type SwuContents, verifySwuImages } from './swu.ts'

/** Who signs, as devices know them: the certificate goes along. */
export interface ImageSigner {
  signer: Signer
  /** DER. */
  certificate: Buffer
  now: Date
}

export type SignableImage =
  | { format: 'swu'; swu: SwuContents }
  | { format: 'rauc'; bundle: RaucContents; isSigned: boolean }

/**
 * Reads what is to be signed: a `.swu` whose description has the SHA-256 of every image that is in it, or a RAUC bundle. What is signed already
 * is signed anew; a plain squashfs with a manifest becomes a bundle.
 *
 * @throws ImageError for what no device could install, or what a signature would not protect
 */
export async function readSignable(source: ImageBytes): Promise<SignableImage> {
  const head = source.size < 6 ? Buffer.alloc(6) : await readAt(source, 0, 6)
  if (looksLikeSquashfs(head)) {
    const isSigned = (await squashfsBytes(source)) < source.size && (await hasTrailer(source))
    const bundle = await readRauc(source, { isSigned })
    if (bundle.format === 'verity' && !isSigned) {
      throw new ImageError('unreadable', 'Its hash tree is missing: rauc bundle makes it')
    }
    return { format: 'rauc', bundle, isSigned }
  }
  const swu = await readSwu(source)
  const bare = swu.images.find(({ sha256 }) => sha256 === undefined)
  if (bare) throw new ImageError('damaged', `sw-description has no sha256 for ${bare.filename}`)
  await verifySwuImages(source, swu)
  return { format: 'swu', swu }
}

async function hasTrailer(source: ImageBytes): Promise<boolean> {
  try {
    await readTrailer(source)
    return true
  } catch (error) {
    if (error instanceof ImageError && error.code === 'other') return false
    throw error
  }
}

/**
 * The signed image, piece by piece. A `.swu` gets `sw-description.sig` right behind its description (SWUpdate's documentation, "Update
 * images from verified source"; CMS, detached, DER). A plain bundle is signed as a whole; of a verity bundle the manifest, which has the
 * root of its hash tree (RAUC's reference, "Bundle Formats").
 */
export async function* signedImage(
  source: ImageBytes,
  image: SignableImage,
  by: ImageSigner,
): AsyncGenerator<Buffer> {
  if (image.format === 'swu') yield* signedSwu(source, image.swu, by)
  else yield* signedBundle(source, image, by)
}

async function* signedSwu(source: ImageBytes, { entries }: SwuContents, by: ImageSigner) {
  const [description, second] = entries
  if (!description) throw new ImageError('damaged', 'There is no description')
  const content = await readAt(source, description.position, description.size)
  const head = await readAt(source, 0, 6)
  const end = padded(description.position + description.size)
  yield* piecesOf(source, 0, end)
  yield writeEntry(signatureName, await sign({ content, isDetached: true }, by), head)
  const isSigned = second?.name === signatureName
  const rest = isSigned ? padded(second.position + second.size) : end
  yield* piecesOf(source, rest, source.size - rest)
}

async function* signedBundle(
  source: ImageBytes,
  { bundle, isSigned }: Extract<SignableImage, { format: 'rauc' }>,
  by: ImageSigner,
) {
  const { contentBytes } = bundle
  if (bundle.format === 'verity') {
    const manifest = manifestIn((await readTrailer(source)).cms)
    if (!isSigned || !manifest) throw new ImageError('damaged', 'The bundle has no manifest')
    yield* piecesOf(source, 0, contentBytes)
    yield* trailer(await sign({ content: manifest, isDetached: false }, by))
    return
  }
  const hash = createHash(signingMethod(by.signer).digest)
  for await (const piece of piecesOf(source, 0, contentBytes)) {
    hash.update(piece)
    yield piece
  }
  yield* trailer(await sign({ messageDigest: hash.digest(), isDetached: true }, by))
}

function* trailer(cms: Buffer) {
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(cms.length))
  yield cms
  yield length
}

async function sign(
  what: { content?: Buffer; messageDigest?: Buffer; isDetached: boolean },
  { signer, certificate, now }: ImageSigner,
): Promise<Buffer> {
  const { issuer, serial } = readCertificateHead(certificate)
  return await buildSignedData(
    {
      content: what.content,
      isDetached: what.isDetached,
      ...(what.messageDigest ? { messageDigest: what.messageDigest } : {}),
      signerId: { kind: 'issuer-and-serial', issuer, serial },
      signingTime: now,
      certificates: [certificate],
    },
    signer,
  )
}
