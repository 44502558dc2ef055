import { isGroup, parseLibconfig, type Setting, type SettingGroup } from './libconfig.ts'
import { ImageError } from './source.ts'

/** An image or script that a `sw-description` has a device take from the archive. */
export interface DescribedImage {
  filename: string
  /** Lower hex; undefined where the description has none, which a device that verifies signatures refuses. */
  sha256: string | undefined
  /** `zlib`, `zstd`, `xz`; `true` of older descriptions is zlib. */
  compressed: string | undefined
  encrypted: boolean
}

export interface SwDescription {
  version: string | undefined
  /** Revisions that the image says it is for; `board` of a description that tells boards apart. */
  hardware: { board: string | undefined; revision: string }[]
  images: DescribedImage[]
}

export const mostDescriptionBytes = 512 * 1024
const lists: ReadonlySet<string> = new Set(['images', 'files', 'scripts'])

/**
 * What a `sw-description` says (SWUpdate's documentation, "Syntax and Tags"), in libconfig's language or as JSON. Images are collected from
 * all boards, modes and sets: any of them may be the one that a device takes.
 *
 * @throws ImageError `damaged`
 */
export function readSwDescription(bytes: Buffer): SwDescription {
  if (bytes.length > mostDescriptionBytes) {
    throw new ImageError('damaged', `A description has at most ${mostDescriptionBytes} bytes`)
  }
  const text = bytes.toString('utf8')
  const all = text.trimStart().startsWith('{') ? groupOf(jsonIn(text)) : parseLibconfig(text)
  const software = all?.get('software')
  if (!isGroup(software)) throw new ImageError('damaged', 'The description has no group software')
  const found: SwDescription = {
    version: textOf(software.get('version')),
    hardware: [],
    images: [],
  }
  collect(software, undefined, found)
  return found
}

function collect(group: SettingGroup, board: string | undefined, found: SwDescription): void {
  const compatible = group.get('hardware-compatibility')
  if (Array.isArray(compatible)) {
    for (const one of compatible) {
      const revision = textOf(one)
      if (revision !== undefined) found.hardware.push({ board, revision })
    }
  }
  for (const [name, value] of group) {
    if (Array.isArray(value)) {
      if (lists.has(name)) for (const one of value) collectImage(one, name, found)
    } else if (isGroup(value)) collect(value, board ?? name, found)
  }
}

function collectImage(value: Setting, list: string, { images }: SwDescription): void {
  if (!isGroup(value)) throw new ImageError('damaged', `An entry of ${list} is no group`)
  const filename = textOf(value.get('filename'))
  // Some kinds, such as those that only set something, take no file.
  if (filename === undefined) return
  const sha256 = textOf(value.get('sha256'))
  if (sha256 !== undefined && !/^[0-9A-Fa-f]{64}$/.test(sha256)) {
    throw new ImageError('damaged', `The sha256 of ${filename} is no SHA-256`)
  }
  const compressed = value.get('compressed')
  const encrypted = value.get('encrypted')
  images.push({
    filename,
    sha256: sha256?.toLowerCase(),
    compressed:
      compressed === true || compressed === 'true'
        ? 'zlib'
        : compressed === false
          ? undefined
          : textOf(compressed),
    encrypted: encrypted !== undefined && encrypted !== false && encrypted !== 'false',
  })
}

function textOf(value: Setting | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function jsonIn(text: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new ImageError('damaged', 'The description is no JSON', undefined, { cause })
  }
}

const deepest = 32

function groupOf(value: unknown, depth = 0): SettingGroup | undefined {
  const setting = settingOf(value, depth)
  return isGroup(setting) ? setting : undefined
}

function settingOf(value: unknown, depth: number): Setting | undefined {
  if (depth > deepest) throw new ImageError('damaged', 'The description is too deep')
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return value
  if (Array.isArray(value)) return value.flatMap((one: unknown) => settingOf(one, depth + 1) ?? [])
  if (typeof value !== 'object' || value === null) return undefined
  const group = new Map<string, Setting>()
  for (const [name, one] of Object.entries(value)) {
    const setting = settingOf(one, depth + 1)
    if (setting !== undefined) group.set(name, setting)
  }
  return group
}
