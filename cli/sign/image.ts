import { type FileHandle, open, rename, rm } from 'node:fs/promises'

import { PkiError } from '../../pki/errors.ts'
import {
  type ImageSigner,
  readSignable,
  type SignableImage,
  signedImage,
} from '../../pki/images/sign.ts'
import { type ImageBytes, ImageError } from '../../pki/images/source.ts'
import { Failure } from '../failure.ts'

export interface SignImageOptions {
  file: string
  /** Where the signed image goes; never the file itself. */
  out: string
  /** Asked after the person was shown what they sign, so that no key is opened for what they refuse. */
  key: () => Promise<Omit<ImageSigner, 'now'>>
  /** Shows the lines and gives what was typed, which must be the version. */
  confirm: (lines: string[], version: string) => string | Promise<string>
  now: Date
}

/**
 * Signs a `.swu` or a RAUC bundle for devices that verify only that. Again gives an image that is as good.
 * Throws Failure `image` for what no device could install, `not-confirmed`, `file`.
 */
export async function signImage(
  options: SignImageOptions,
): Promise<{ format: 'swu' | 'rauc'; version: string }> {
  await using source = await openSource(options.file)
  const image = await asFailure(async () => await readSignable(source))
  const version = versionOf(image)
  const typed = await options.confirm(linesOf(image), version)
  if (typed.trim() !== version) {
    throw new Failure('not-confirmed', `${typed.trim()} is not the version: nothing was signed`)
  }
  const by = { ...(await options.key()), now: options.now }
  await asFailure(async () => await writeWhole(options.out, signedImage(source, image, by)))
  return { format: image.format, version }
}

function versionOf(image: SignableImage): string {
  const version = image.format === 'swu' ? image.swu.version : image.bundle.version
  if (version !== undefined && version !== '') return version
  throw new Failure('image', 'The image says no version: nobody could tell what was signed')
}

function linesOf(image: SignableImage): string[] {
  if (image.format === 'swu') {
    const { version, hardware, images } = image.swu
    const boards = hardware.map(({ board, revision }) =>
      board ? `${board}:${revision}` : revision,
    )
    return [
      `.swu, version ${version}, for ${boards.join(', ') || 'any hardware'}`,
      ...images.map(
        (one) => `  ${one.filename}  ${one.sha256}${one.encrypted ? '  encrypted' : ''}`,
      ),
    ]
  }
  const { version, compatible, format, images } = image.bundle
  return [
    `RAUC bundle (${format}), version ${version}, for ${compatible}`,
    ...images.map(({ slot, sha256 }) => `  ${slot}  ${sha256 ?? ''}`),
  ]
}

async function openSource(path: string): Promise<ImageBytes & AsyncDisposable> {
  const file = await open(path).catch((cause: unknown) => {
    throw new Failure('file', `Cannot read ${path}`, { cause })
  })
  const stat = await file.stat()
  if (!stat.isFile()) {
    await file.close()
    throw new Failure('file', `${path} is not a file`)
  }
  return {
    size: stat.size,
    read: async (buffer, position, length) => await readFrom(file, buffer, { position, length }),
    [Symbol.asyncDispose]: async () => await file.close(),
  }
}

async function readFrom(
  file: FileHandle,
  buffer: Buffer,
  { position, length }: { position: number; length: number },
): Promise<number> {
  return (await file.read(buffer, 0, length, position)).bytesRead
}

/** The file is there as a whole, or not at all. */
async function writeWhole(path: string, pieces: AsyncIterable<Buffer>): Promise<void> {
  const temporary = `${path}.${process.pid}.new`
  await rm(temporary, { force: true })
  try {
    {
      await using file = await open(temporary, 'wx', 0o644)
      for await (const piece of pieces) await file.writeFile(piece)
      await file.sync()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

async function asFailure<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof ImageError) throw new Failure('image', cause.message, { cause })
    if (cause instanceof PkiError) throw new Failure('image', cause.message, { cause })
    throw cause
  }
}
