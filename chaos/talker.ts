import { setTimeout as sleep } from 'node:timers/promises'

import { topicOf } from '../server/protocol/topics.ts'
import type { Credentials } from '../test/support/broker-pki.ts'
import { publishFrame, RawDevice, types } from '../test/support/raw-device.ts'

export type TalkerIdentity = Pick<Credentials, 'deviceId' | 'key' | 'cert'>

/** Events of a device beyond sixty an hour are not stored. */
export const mostEvents = 50
const pauseMs = 400
const answerMs = 15_000

/**
 * A device that goes on telling of events, one after the other with QoS 1, each with its number, and remembers which of them the
 * server acknowledged, and when. What is not acknowledged it sends again, over a new connection.
 */
export class Talker {
  readonly identity: TalkerIdentity
  readonly acknowledged: { no: number; atMs: number }[] = []
  readonly #port: number
  readonly #ca: string
  #running: Promise<void> | undefined
  #isOver = false
  #device: RawDevice | undefined
  /** What the newest CONNECT was answered with. */
  lastCode: number | 'closed' | undefined

  constructor(identity: TalkerIdentity, port: number, ca: string) {
    this.identity = identity
    this.#port = port
    this.#ca = ca
  }

  start(): void {
    this.#running = this.#work()
  }

  async stop(): Promise<void> {
    this.#isOver = true
    this.#device?.socket.destroy()
    await this.#running
  }

  async #work(): Promise<void> {
    for (let no = 1; no <= mostEvents && !this.#isOver; no++) {
      let isDuplicate = false
      while (!this.#isOver) {
        if (await this.#tell(no, isDuplicate).catch(() => false)) {
          this.acknowledged.push({ no, atMs: performance.now() })
          break
        }
        isDuplicate = true
        this.#device?.socket.destroy()
        this.#device = undefined
        await sleep(100)
      }
      await sleep(pauseMs)
    }
  }

  async #tell(no: number, isDuplicate: boolean): Promise<boolean> {
    this.#device ??= await this.#connected()
    if (!this.#device) return false
    const topic = topicOf(this.identity.deviceId, 'event')
    const payload = JSON.stringify({
      kind: 'chaos',
      detail: `${no}`,
      at: '2026-11-26T12:00:00.000Z',
    })
    this.#device.send(publishFrame({ topic, payload, id: no, isDuplicate }))
    return (await inTime(this.#device, this.#device.next(types.puback))) !== undefined
  }

  async #connected(): Promise<RawDevice | undefined> {
    const device = await RawDevice.open(this.#port, this.#ca, this.identity)
    this.lastCode = await inTime(device, device.connect({ clientId: this.identity.deviceId }))
    if (this.lastCode === 0) return device
    device.socket.destroy()
    return undefined
  }
}

/** Nobody waits for an answer for ever: the connection is given up, which ends the wait. */
async function inTime<T>(device: RawDevice, answer: Promise<T>): Promise<T> {
  const timer = setTimeout(() => device.socket.destroy(), answerMs)
  try {
    return await answer
  } finally {
    clearTimeout(timer)
  }
}

/** Floods: as many messages as go, for a while; what becomes of them nobody cares. */
export async function flood(
  { deviceId, ...credentials }: TalkerIdentity,
  port: number,
  ca: string,
  forMs: number,
): Promise<void> {
  const end = performance.now() + forMs
  const topic = topicOf(deviceId, 'event')
  const payload = JSON.stringify({
    kind: 'flood',
    detail: 'x'.repeat(400),
    at: '2026-11-26T12:00:00.000Z',
  })
  const frame = publishFrame({ topic, payload, id: 1 })
  const many = Buffer.concat(Array.from({ length: 200 }, () => frame))
  while (performance.now() < end) {
    const device = await RawDevice.open(port, ca, credentials)
    await inTime(device, device.connect({ clientId: deviceId })).catch(() => 'closed')
    while (performance.now() < end && !device.socket.destroyed) {
      device.socket.write(many)
      await sleep(20)
    }
    device.socket.destroy()
    await sleep(100)
  }
}
