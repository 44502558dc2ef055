import { type ServerLeaf, topicOf } from '../protocol/topics.ts'

/** As long as every device id. */
const placeholder = '00000000-0000-0000-0000-000000000000'

/**
 * A PUBLISH (MQTT 3.1.1 §3.3) that is the same to every device but for its id in the topic and, at QoS 1, the packet identifier:
 * encoded once, copied for each.
 */
export class PublishFrame {
  readonly #payload: Buffer
  readonly #leaf: ServerLeaf
  readonly #made: [atMostOnce?: Buffer, atLeastOnce?: Buffer] = []
  readonly #idAt: [number, number] = [0, 0]

  constructor(leaf: ServerLeaf, payload: Buffer) {
    this.#leaf = leaf
    this.#payload = payload
  }

  /** Bytes of the payload. */
  get length(): number {
    return this.#payload.length
  }

  /**
   * @param deviceId a UUID
   * @param packetId 1 to 65,535; not looked at with QoS 0
   */
  to(deviceId: string, qos: 0 | 1, packetId: number): Buffer {
    const model = (this.#made[qos] ??= this.#make(qos))
    const frame = Buffer.allocUnsafe(model.length)
    model.copy(frame)
    const idAt = this.#idAt[qos]
    frame.write(deviceId, idAt, placeholder.length, 'latin1')
    if (qos === 1) frame.writeUInt16BE(packetId, frame.length - this.#payload.length - 2)
    return frame
  }

  #make(qos: 0 | 1): Buffer {
    const head = publishHead(topicOf(placeholder, this.#leaf), qos, this.#payload.length)
    this.#idAt[qos] = head.indexOf(placeholder)
    return Buffer.concat([head, this.#payload])
  }
}

/** All of a PUBLISH before its payload; at QoS 1 the packet identifier is the last two bytes, and zero. */
export function publishHead(topic: string, qos: 0 | 1, payloadBytes: number): Buffer {
  const name = Buffer.from(topic)
  const length = 2 + name.length + 2 * qos + payloadBytes
  const head = [0x30 | (qos << 1)]
  // Remaining length, seven bits a byte, the lowest first (§2.2.3).
  for (let left = length; head.length === 1 || left > 0; left = Math.floor(left / 128)) {
    head.push((left % 128) | (left >= 128 ? 128 : 0))
  }
  return Buffer.concat([
    Buffer.from([...head, name.length >> 8, name.length & 255]),
    name,
    Buffer.alloc(2 * qos),
  ])
}
