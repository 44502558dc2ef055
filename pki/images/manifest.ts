import { ImageError } from './source.ts'

export interface RaucManifest {
  /** Of the system that the bundle is for. */
  compatible: string
  version: string | undefined
  format: 'plain' | 'verity' | 'crypt'
  images: { slot: string; filename: string | undefined; sha256: string | undefined }[]
}

export const mostManifestBytes = 65_536
const mostLines = 2_000
const bundleFormats = ['plain', 'verity', 'crypt'] as const

/**
 * A RAUC manifest (RAUC's reference, "Manifest"): groups and `key=value` lines, as GLib's key files have them.
 *
 * @throws ImageError `damaged`, with the line
 */
export function readManifest(bytes: Buffer): RaucManifest {
  if (bytes.length > mostManifestBytes) {
    throw new ImageError('damaged', `A manifest has at most ${mostManifestBytes} bytes`)
  }
  const groups = readGroups(bytes.toString('utf8'))
  const update = groups.get('update')
  const compatible = update?.get('compatible')
  if (compatible === undefined || compatible === '') {
    throw new ImageError('damaged', 'The manifest says no compatible in [update]')
  }
  const said = groups.get('bundle')?.get('format') ?? 'plain'
  const format = bundleFormats.find((one) => one === said)
  if (!format) throw new ImageError('unreadable', 'The bundle has a format that is not known')
  const images = [...groups].flatMap(([name, group]) => {
    if (!name.startsWith('image.')) return []
    const sha256 = group.get('sha256')
    return [{ slot: name.slice(6), filename: group.get('filename'), sha256: sha256?.toLowerCase() }]
  })
  return { compatible, version: update?.get('version'), format, images }
}

function readGroups(text: string): Map<string, Map<string, string>> {
  const groups = new Map<string, Map<string, string>>()
  const lines = text.split('\n')
  if (lines.length > mostLines) {
    throw new ImageError('damaged', `A manifest has at most ${mostLines} lines`)
  }
  let group: Map<string, string> | undefined
  for (const [n, raw] of lines.entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const at = { line: n + 1, column: 1 }
    const name = /^\[([^[\]]{1,100})\]$/.exec(line)?.[1]
    if (name !== undefined) {
      if (groups.has(name)) throw new ImageError('damaged', `[${name}] is there twice`, at)
      group = new Map()
      groups.set(name, group)
      continue
    }
    const equals = line.indexOf('=')
    if (equals < 1) throw new ImageError('damaged', 'key=value is expected', at)
    if (!group) throw new ImageError('damaged', 'A group is expected before this line', at)
    const key = line.slice(0, equals).trim()
    if (group.has(key)) throw new ImageError('damaged', `${key} is there twice`, at)
    group.set(key, line.slice(equals + 1).trim())
  }
  return groups
}
