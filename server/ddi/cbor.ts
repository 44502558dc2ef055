import { decode, encode } from 'cborg'

/** Deeper than any body of the contract. */
const mostDepth = 16

/**
 * Reads one CBOR item (RFC 8949) of the part of it that JSON can say as well: no tags, no byte strings, nothing of indefinite length, no key twice
 * or other than text, no `undefined`, NaN, infinity or number beyond 2^53.
 *
 * @param bytes at most 256 KiB
 * @returns undefined for whatever else it is
 */
export function readCbor(bytes: Uint8Array): unknown {
  if (!isPlain(bytes)) return undefined
  try {
    return decode(bytes, {
      strict: true,
      allowIndefinite: false,
      allowUndefined: false,
      allowInfinity: false,
      allowNaN: false,
      allowBigInt: false,
      rejectDuplicateMapKeys: true,
    })
  } catch {
    return undefined
  }
}

/** What `JSON.stringify` would say of a value, in CBOR. */
export function writeCbor(value: unknown): Buffer {
  return Buffer.from(encode(JSON.parse(JSON.stringify(value))))
}

/**
 * Before it is decoded, since that goes down as deep as the sender likes: neither too deep, nor of what JSON has not. Heads are counted, and nothing
 * is copied.
 */
function isPlain(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  /** How many items each one that is open still has to come. */
  const open: number[] = []
  let at = 0
  while (at < bytes.length) {
    const head = headAt(view, at)
    if (!head) return false
    at = head.next
    if (head.items > 0) {
      if (open.length >= mostDepth) return false
      open.push(head.items)
      continue
    }
    // One that is done may be the last of those around it.
    while (open.length > 0) {
      const left = (open.pop() ?? 1) - 1
      if (left > 0) {
        open.push(left)
        break
      }
    }
    if (open.length === 0) return at === bytes.length
  }
  return false
}

const [byteString, text, array, map, tag] = [2, 3, 4, 5, 6]

/** How many items are in the one that begins at `at`, and where the next one does; undefined for what is not taken. */
function headAt(view: DataView, at: number): { items: number; next: number } | undefined {
  const major = view.getUint8(at) >> 5
  const info = view.getUint8(at) & 31
  if (info > 27 || major === byteString || major === tag) return undefined
  const width = info < 24 ? 0 : 2 ** (info - 24)
  const next = at + 1 + width
  if (next > view.byteLength) return undefined
  const said = width === 0 ? info : numberAt(view, at + 1, width)
  if (major === text) return { items: 0, next: next + said }
  if (major === array) return { items: said, next }
  return { items: major === map ? said * 2 : 0, next }
}

function numberAt(view: DataView, at: number, width: number): number {
  if (width === 1) return view.getUint8(at)
  if (width === 2) return view.getUint16(at)
  return width === 4 ? view.getUint32(at) : Number(view.getBigUint64(at))
}
