/*
 * QR codes (ISO/IEC 18004): bytes, error correction level M, versions 1 to 20. Written out here because what it shows is a secret, which no picture
 * service and no library that draws may see.
 */

/** By version: codewords for correction in each block, and blocks (ISO/IEC 18004 table 9, level M). */
const correction = [
  [10, 1],
  [16, 1],
  [26, 1],
  [18, 2],
  [24, 2],
  [16, 4],
  [18, 4],
  [22, 4],
  [22, 5],
  [26, 5],
  [30, 5],
  [22, 8],
  [22, 9],
  [24, 9],
  [24, 10],
  [28, 10],
  [28, 11],
  [26, 13],
  [26, 14],
  [26, 16],
] as const

interface Plan {
  version: number
  size: number
  codewords: number
  dataCodewords: number
  perBlock: number
  blocks: number
}

/** Rows of modules, true is dark; without the quiet zone of four around it. @throws RangeError above 666 bytes */
export function qrModules(text: string): boolean[][] {
  const bytes = new TextEncoder().encode(text)
  const plan = planFor(bytes.length)
  const grid = new Grid(plan)
  grid.drawData(interleaved(dataOf(bytes, plan), plan))
  return grid.best()
}

function planFor(length: number): Plan {
  for (const [index, [perBlock, blocks]] of correction.entries()) {
    const version = index + 1
    const codewords = Math.floor(rawModules(version) / 8)
    const dataCodewords = codewords - perBlock * blocks
    if (length + (version < 10 ? 2 : 3) <= dataCodewords) {
      return { version, size: version * 4 + 17, codewords, dataCodewords, perBlock, blocks }
    }
  }
  throw new RangeError('This is too long for a QR code')
}

function rawModules(version: number): number {
  const all = (16 * version + 128) * version + 64
  if (version < 2) return all
  const marks = Math.floor(version / 7) + 2
  return all - ((25 * marks - 10) * marks - 55) - (version >= 7 ? 36 : 0)
}

function dataOf(bytes: Uint8Array, { version, dataCodewords }: Plan): number[] {
  const bits: number[] = []
  const put = (value: number, length: number) => {
    for (let bit = length - 1; bit >= 0; bit--) bits.push((value >>> bit) & 1)
  }
  put(0b0100, 4)
  put(bytes.length, version < 10 ? 8 : 16)
  for (const byte of bytes) put(byte, 8)
  put(0, Math.min(4, dataCodewords * 8 - bits.length))
  put(0, (8 - (bits.length % 8)) % 8)
  for (let pad = 0xec; bits.length < dataCodewords * 8; pad ^= 0xec ^ 0x11) put(pad, 8)
  return Array.from({ length: dataCodewords }, (_, index) =>
    bits.slice(index * 8, index * 8 + 8).reduce((byte, bit) => (byte << 1) | bit, 0),
  )
}

/** Blocks of data with their correction, one codeword of each in turn. */
function interleaved(data: readonly number[], plan: Plan): number[] {
  const { codewords, perBlock, blocks } = plan
  const short = blocks - (codewords % blocks)
  const shortData = Math.floor(codewords / blocks) - perBlock
  const divisor = divisorOf(perBlock)
  const parts: { data: number[]; check: number[] }[] = []
  let from = 0
  for (let block = 0; block < blocks; block++) {
    const part = data.slice(from, from + shortData + (block < short ? 0 : 1))
    from += part.length
    parts.push({ data: part, check: remainderOf(part, divisor) })
  }
  const out: number[] = []
  for (let at = 0; at <= shortData; at++) {
    for (const part of parts) out.push(...part.data.slice(at, at + 1))
  }
  for (let at = 0; at < perBlock; at++) {
    for (const part of parts) out.push(...part.check.slice(at, at + 1))
  }
  return out
}

/** In GF(2^8) with the polynomial 0x11d. */
function times(x: number, y: number): number {
  let product = 0
  for (let bit = 7; bit >= 0; bit--) {
    product = (product << 1) ^ ((product >>> 7) * 0x11d)
    product ^= ((y >>> bit) & 1) * x
  }
  return product
}

function divisorOf(degree: number): number[] {
  const divisor = Array.from({ length: degree }, (_, index) => Number(index === degree - 1))
  let root = 1
  for (let step = 0; step < degree; step++) {
    for (const [index, value] of divisor.entries()) {
      divisor[index] = times(value, root) ^ (divisor[index + 1] ?? 0)
    }
    root = times(root, 2)
  }
  return divisor
}

function remainderOf(data: readonly number[], divisor: readonly number[]): number[] {
  let rest = divisor.map(() => 0)
  for (const byte of data) {
    const factor = byte ^ (rest[0] ?? 0)
    rest = divisor.map((value, index) => (rest[index + 1] ?? 0) ^ times(value, factor))
  }
  return rest
}

const masks: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => (x + y) % 2 === 0,
  (_x, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
]

class Grid {
  readonly #plan: Plan
  readonly #dark: boolean[][]
  readonly #fixed: boolean[][]

  constructor(plan: Plan) {
    const empty = () =>
      Array.from({ length: plan.size }, () => Array<boolean>(plan.size).fill(false))
    this.#plan = plan
    this.#dark = empty()
    this.#fixed = empty()
    this.#drawPatterns()
  }

  drawData(codewords: readonly number[]): void {
    const { size } = this.#plan
    let bit = 0
    for (let right = size - 1; right >= 1; right -= right === 8 ? 3 : 2) {
      const isUpward = ((right + (right < 6 ? 1 : 0) + 1) & 2) === 0
      for (let step = 0; step < size * 2; step++) {
        const x = right - (step % 2)
        const row = Math.floor(step / 2)
        const y = isUpward ? size - 1 - row : row
        if (this.#fixed[y]?.[x] === true) continue
        const byte = codewords[bit >>> 3] ?? 0
        this.#put(x, y, ((byte >>> (7 - (bit & 7))) & 1) === 1)
        bit += 1
      }
    }
  }

  /** With the mask that leaves the fewest patterns which disturb a reader. */
  best(): boolean[][] {
    const all = masks.map((_, mask) => this.#masked(mask))
    return all.reduce((best, one) => (disturbance(one) < disturbance(best) ? one : best))
  }

  #masked(mask: number): boolean[][] {
    this.#drawFormat(mask)
    const isFlipped = masks[mask] ?? (() => false)
    return this.#dark.map((row, y) =>
      row.map((dark, x) => dark !== (this.#fixed[y]?.[x] !== true && isFlipped(x, y))),
    )
  }

  #drawPatterns(): void {
    const { size, version } = this.#plan
    for (let at = 0; at < size; at++) {
      this.#fix(6, at, at % 2 === 0)
      this.#fix(at, 6, at % 2 === 0)
    }
    this.#drawFinder(3, 3)
    this.#drawFinder(size - 4, 3)
    this.#drawFinder(3, size - 4)
    const places = alignments(version, size)
    const last = places.length - 1
    for (const [i, x] of places.entries()) {
      for (const [j, y] of places.entries()) {
        const isCorner = (i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)
        if (!isCorner) this.#drawAlignment(x, y)
      }
    }
    this.#drawFormat(0)
    if (version >= 7) this.#drawVersion()
  }

  #drawFinder(x: number, y: number): void {
    for (let dy = -4; dy <= 4; dy++) {
      for (let dx = -4; dx <= 4; dx++) {
        const ring = Math.max(Math.abs(dx), Math.abs(dy))
        this.#fix(x + dx, y + dy, ring !== 2 && ring !== 4)
      }
    }
  }

  #drawAlignment(x: number, y: number): void {
    for (let dy = -2; dy <= 2; dy++) {
      for (let dx = -2; dx <= 2; dx++) {
        this.#fix(x + dx, y + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1)
      }
    }
  }

  /** Level M is 00; a BCH code behind level and mask, twice. */
  #drawFormat(mask: number): void {
    let rest = mask
    for (let step = 0; step < 10; step++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537)
    const bits = ((mask << 10) | rest) ^ 0x5412
    const isSet = (bit: number) => ((bits >>> bit) & 1) === 1
    const { size } = this.#plan
    for (let bit = 0; bit <= 5; bit++) this.#fix(8, bit, isSet(bit))
    this.#fix(8, 7, isSet(6))
    this.#fix(8, 8, isSet(7))
    this.#fix(7, 8, isSet(8))
    for (let bit = 9; bit < 15; bit++) this.#fix(14 - bit, 8, isSet(bit))
    for (let bit = 0; bit < 8; bit++) this.#fix(size - 1 - bit, 8, isSet(bit))
    for (let bit = 8; bit < 15; bit++) this.#fix(8, size - 15 + bit, isSet(bit))
    this.#fix(8, size - 8, true)
  }

  #drawVersion(): void {
    const { version, size } = this.#plan
    let rest = version
    for (let step = 0; step < 12; step++) rest = (rest << 1) ^ ((rest >>> 11) * 0x1f25)
    const bits = (version << 12) | rest
    for (let bit = 0; bit < 18; bit++) {
      const across = size - 11 + (bit % 3)
      const down = Math.floor(bit / 3)
      this.#fix(across, down, ((bits >>> bit) & 1) === 1)
      this.#fix(down, across, ((bits >>> bit) & 1) === 1)
    }
  }

  #fix(x: number, y: number, dark: boolean): void {
    const row = this.#fixed[y]
    if (row === undefined || x < 0 || x >= row.length) return
    row[x] = true
    this.#put(x, y, dark)
  }

  #put(x: number, y: number, dark: boolean): void {
    const row = this.#dark[y]
    if (row !== undefined) row[x] = dark
  }
}

function alignments(version: number, size: number): number[] {
  if (version === 1) return []
  const marks = Math.floor(version / 7) + 2
  const step = Math.ceil((version * 4 + 4) / (marks * 2 - 2)) * 2
  const places = Array.from({ length: marks - 1 }, (_, index) => size - 7 - index * step)
  return [6, ...places.toReversed()]
}

/** Long runs, squares of one color, and more of one color than of the other (ISO/IEC 18004 section 7.8.3). */
function disturbance(modules: readonly (readonly boolean[])[]): number {
  const columns = modules.map((_, x) => modules.map((row) => row[x] === true))
  let points = 0
  for (const line of [...modules, ...columns]) points += runs(line)
  let dark = 0
  for (const [y, row] of modules.entries()) {
    for (const [x, module] of row.entries()) {
      if (module) dark += 1
      const below = modules[y + 1]
      if (below !== undefined && x + 1 < row.length) {
        const isSquare = [row[x + 1], below[x], below[x + 1]].every((other) => other === module)
        if (isSquare) points += 3
      }
    }
  }
  const total = modules.length ** 2
  return points + Math.floor(Math.abs(dark * 20 - total * 10) / total) * 10
}

function runs(line: readonly boolean[]): number {
  const text = line.map((dark) => (dark ? '1' : '0')).join('')
  const long = [...text.matchAll(/0{5,}|1{5,}/g)].reduce((sum, [run]) => sum + run.length - 2, 0)
  const finders = [...text.matchAll(/(?=10111010000|00001011101)/g)].length
  return long + finders * 40
}
