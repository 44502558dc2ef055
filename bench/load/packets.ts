/* The few packets of MQTT 3.1.1 that a load needs, made and read by hand: what a library adds would be measured as latency. */

export const packetType = {
  connack: 2,
  publish: 3,
  puback: 4,
  suback: 9,
  pingresp: 13,
} as const

export const disconnectPacket = Buffer.from([0xe0, 0])
export const pingPacket = Buffer.from([0xc0, 0])

/** Clean session, no will. */
export function connectPacket(clientId: string, keepaliveSeconds: number): Buffer {
  const variable = Buffer.from([0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 2, 0, 0])
  variable.writeUInt16BE(keepaliveSeconds, 8)
  return packet(0x10, [variable, text(clientId)])
}

export function subscribePacket(
  id: number,
  filters: readonly { filter: string; qos: 0 | 1 }[],
): Buffer {
  const parts = filters.flatMap(({ filter, qos }) => [text(filter), Buffer.from([qos])])
  return packet(0x82, [twoBytes(id), ...parts])
}

/** QoS 1 when it has an id. */
export function publishPacket(topic: string, payload: Buffer, id?: number): Buffer {
  const middle = id === undefined ? [] : [twoBytes(id)]
  return packet(id === undefined ? 0x30 : 0x32, [text(topic), ...middle, payload])
}

export function pubackPacket(id: number): Buffer {
  return Buffer.from([0x40, 2, id >> 8, id & 0xff])
}

/** One packet as it came: its type, the flags of its first byte, what follows the length. */
export type OnPacket = (type: number, flags: number, body: Buffer) => void

/** Puts packets together again from what TCP made of them. */
export class PacketReader {
  #left: Buffer = Buffer.alloc(0)
  readonly #on: OnPacket

  constructor(on: OnPacket) {
    this.#on = on
  }

  take(data: Buffer): void {
    let bytes = this.#left.length === 0 ? data : Buffer.concat([this.#left, data])
    for (let next = split(bytes); next !== undefined; next = split(bytes)) {
      const { first, body } = next
      bytes = next.rest
      this.#on(first >> 4, first & 0x0f, body)
    }
    this.#left = bytes
  }
}

function split(bytes: Buffer): { first: number; body: Buffer; rest: Buffer } | undefined {
  let length = 0
  for (let at = 1; at <= 4; at++) {
    const byte = bytes[at]
    if (byte === undefined) return undefined
    length += (byte & 0x7f) * 128 ** (at - 1)
    if (byte >= 0x80) continue
    const end = at + 1 + length
    if (bytes.length < end) return undefined
    return { first: bytes[0] ?? 0, body: bytes.subarray(at + 1, end), rest: bytes.subarray(end) }
  }
  throw new Error('The server sent a length of more than four bytes')
}

function packet(first: number, parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const head = [first]
  let left = length
  do {
    const byte = left % 128
    left = Math.floor(left / 128)
    head.push(left > 0 ? byte | 0x80 : byte)
  } while (left > 0)
  return Buffer.concat([Buffer.from(head), ...parts])
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value)
  return Buffer.concat([twoBytes(bytes.length), bytes])
}

function twoBytes(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff])
}
