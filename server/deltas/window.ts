/** Bytes of which a piece of the old image is recognized. */
const sampleBytes = 32
const maxSamples = 1_000_000
const tableBits = 21
const prime = 0x01_00_01_93
const spread = 0x9e_37_79_b1
/** A byte's part in the sum when it is the first of a sample and leaves it. */
const leaving = Array.from({ length: sampleBytes }).reduce<number>(
  (power) => Math.imul(power, prime),
  1,
)
/** Cells that a window is made of, at which it may begin. */
const cellsPerWindow = 16
/** Recognized pieces that another place must have more of, in all and for each one here. */
const leastGain = 8
const leastShare = 1.02

/**
 * Where in the old image the bytes of a block were. Programs do not grow evenly: a section that moved by more than a window leaves
 * nothing to refer to where the same share of the image was. Holds 16 MB, whatever the image's length.
 */
export class OldPlaces {
  readonly #stride: number
  readonly #length: number
  /** Sample number by slot, and its sum, by which chance hits are told. */
  readonly #numbers = new Int32Array(2 ** tableBits).fill(-1)
  readonly #sums = new Int32Array(2 ** tableBits)

  /** @param length of the old image */
  constructor(length: number) {
    this.#length = length
    this.#stride = sampleBytes
    while (length / this.#stride > maxSamples) this.#stride *= 2
  }

  /** A piece of the old image; `position` is a multiple of 64 kB. */
  add(piece: Buffer, position: number): void {
    for (let at = 0; at + sampleBytes <= piece.length; at += this.#stride) {
      const sum = sumOf(piece, at)
      if (sum === undefined) continue
      const slot = slotOf(sum)
      if ((this.#numbers[slot] ?? 0) >= 0) continue
      this.#numbers[slot] = (position + at) / this.#stride
      this.#sums[slot] = sum
    }
  }

  /**
   * The offset at which a window of `window` bytes holds the most of the block, when that is clearly more than at `expected`;
   * `isClear` when it is not even close.
   */
  bestFor(
    block: Buffer,
    { window, expected }: { window: number; expected: number },
  ): { offset: number; isClear: boolean } | undefined {
    const cell = Math.max(Math.floor(window / cellsPerWindow), sampleBytes)
    const votes = this.#votes(block, cell)
    const sumAt = (first: number) => {
      let sum = 0
      for (let next = first; next < first + cellsPerWindow; next++) sum += votes[next] ?? 0
      return sum
    }
    const here = sumAt(Math.round(expected / cell))
    let best = { first: -1, sum: here * leastShare + leastGain }
    for (let first = 0; first < votes.length; first++) {
      const sum = sumAt(first)
      if (sum > best.sum) best = { first, sum }
    }
    if (best.first < 0) return undefined
    const offset = Math.min(best.first * cell, this.#length - window)
    return { offset, isClear: best.sum > 2 * here }
  }

  /** How many recognized pieces of the block come from each cell of the old image. */
  #votes(block: Buffer, cell: number): Uint32Array {
    const votes = new Uint32Array(Math.ceil(this.#length / cell))
    let sum = 0
    for (let at = 0; at < block.length; at++) {
      sum = (Math.imul(sum, prime) + (block[at] ?? 0)) | 0
      if (at >= sampleBytes) sum = (sum - Math.imul(block[at - sampleBytes] ?? 0, leaving)) | 0
      if (at < sampleBytes - 1) continue
      const slot = slotOf(sum)
      const number = this.#numbers[slot] ?? -1
      if (number < 0 || this.#sums[slot] !== sum) continue
      const found = Math.floor((number * this.#stride) / cell)
      votes[found] = (votes[found] ?? 0) + 1
    }
    return votes
  }
}

function slotOf(sum: number): number {
  return Math.imul(sum, spread) >>> (32 - tableBits)
}

/** Undefined for one byte again and again: such pieces are everywhere. */
function sumOf(bytes: Buffer, at: number): number | undefined {
  const first = bytes[at]
  let sum = 0
  let isPlain = true
  for (let next = at; next < at + sampleBytes; next++) {
    const byte = bytes[next] ?? 0
    sum = (Math.imul(sum, prime) + byte) | 0
    if (byte !== first) isPlain = false
  }
  return isPlain ? undefined : sum
}
