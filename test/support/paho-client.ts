import type { Credentials } from './broker-pki.ts'
import {
  connectFrame,
  type ConnectFields,
  disconnectFrame,
  frame,
  publishFrame,
  type Received,
  RawDevice,
  types,
} from './raw-device.ts'

export interface Arrived {
  topic: string
  payload: string
  qos: number
  isRetained: boolean
}

const pubrel = 6
const pubcomp = 7
const number = (value: number) => Buffer.from([value >> 8, value & 255])
const text = (value: string) =>
  Buffer.concat([number(Buffer.byteLength(value)), Buffer.from(value)])

/**
 * The client of the Paho suite (interoperability/mqtt/clients/V311): answers what arrives by itself, at all three qualities of
 * service, and keeps it. One object is one connection.
 */
export class PahoClient {
  readonly arrived: Arrived[] = []
  /** Does not answer messages that arrive, and does not keep them. Its own are still brought to an end. */
  isPaused = false
  readonly #device: RawDevice
  /** Identifiers of messages of QoS 2 that arrived and were not released. */
  readonly #unreleased = new Set<number>()
  #id = 0

  private constructor(device: RawDevice) {
    this.#device = device
    device.socket.on('packet', () => this.#answer())
  }

  static async open(
    port: number,
    ca: string,
    credentials: Pick<Credentials, 'key' | 'cert'>,
  ): Promise<PahoClient> {
    return new PahoClient(await RawDevice.open(port, ca, credentials))
  }

  /** Can be called twice, which no client may do. */
  async connect(fields: ConnectFields): Promise<{ code: number; isPresent: boolean } | 'closed'> {
    this.#device.send(connectFrame(fields))
    const connack = await this.#device.next(types.connack)
    if (!connack) return 'closed'
    return { code: connack.body[1] ?? -1, isPresent: connack.body[0] === 1 }
  }

  /** Return codes, 128 for a filter that is refused. */
  async subscribe(filters: Readonly<Record<string, number>>): Promise<number[] | 'closed'> {
    const asked = Object.entries(filters).map(([filter, qos]) => [text(filter), Buffer.from([qos])])
    this.#device.send(frame(8, 2, Buffer.concat([this.#nextId(), ...asked.flat()])))
    const suback = await this.#device.next(types.suback)
    return suback ? [...suback.body.subarray(2)] : 'closed'
  }

  async unsubscribe(...filters: string[]): Promise<boolean> {
    this.#device.send(frame(10, 2, Buffer.concat([this.#nextId(), ...filters.map(text)])))
    return (await this.#device.next(types.unsuback)) !== undefined
  }

  /** False when the connection closed before the exchange was over; at QoS 0, before a ping was answered. */
  async publish(topic: string, payload: string, qos = 0, isRetained = false): Promise<boolean> {
    const id = this.#nextId().readUInt16BE()
    this.#device.send(publishFrame({ topic, payload, qos, id, isRetained }))
    if (qos === 0) return await this.#device.isAlive()
    return (await this.#device.next(qos === 1 ? types.puback : pubcomp)) !== undefined
  }

  /** Says goodbye, and waits until the server has closed. */
  async disconnect(): Promise<void> {
    this.#device.send(disconnectFrame)
    await this.#device.closed
  }

  /** Is gone without a word. */
  async terminate(): Promise<void> {
    await this.#device.close()
  }

  async isAlive(): Promise<boolean> {
    return await this.#device.isAlive()
  }

  async closed(): Promise<void> {
    await this.#device.closed
  }

  #nextId(): Buffer {
    this.#id++
    return number(this.#id)
  }

  #answer(): void {
    const packet = this.#device.received.at(-1)
    if (!packet) return
    const { type, body } = packet
    if (type !== types.publish && type !== types.pubrec && type !== pubrel) return
    this.#device.received.pop()
    if (type === types.publish) return this.#take(packet)
    const id = body.subarray(0, 2)
    if (type === types.pubrec) return this.#device.send(frame(pubrel, 2, id))
    this.#unreleased.delete(id.readUInt16BE())
    this.#device.send(frame(pubcomp, 0, id))
  }

  #take({ flags, body }: Received): void {
    if (this.isPaused) return
    const qos = (flags >> 1) & 3
    const end = 2 + body.readUInt16BE()
    const topic = body.toString('utf8', 2, end)
    const id = body.subarray(end, end + 2)
    const payload = body.toString('utf8', qos === 0 ? end : end + 2)
    const isAgain = qos === 2 && this.#unreleased.has(id.readUInt16BE())
    if (!isAgain) this.arrived.push({ topic, payload, qos, isRetained: (flags & 1) === 1 })
    if (qos === 1) this.#device.send(frame(types.puback, 0, id))
    if (qos !== 2) return
    this.#unreleased.add(id.readUInt16BE())
    this.#device.send(frame(types.pubrec, 0, id))
  }
}
