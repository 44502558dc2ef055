import { randomUUID } from 'node:crypto'

import { expect, test } from 'vitest'

import { PublishFrame, publishHead } from '../../../server/mqtt/publish-frame.ts'
import { topicOf } from '../../../server/protocol/topics.ts'

/** Takes a PUBLISH apart by the words of MQTT 3.1.1 §3.3; throws when it is longer or shorter than it says. */
function readPublish(frame: Buffer) {
  const first = frame.readUInt8(0)
  let length = 0
  let at = 1
  for (let factor = 1; ; factor *= 128) {
    const byte = frame.readUInt8(at++)
    length += (byte & 127) * factor
    if (byte < 128) break
    if (at > 4) throw new Error('The remaining length has five bytes')
  }
  if (frame.length !== at + length) throw new Error(`${frame.length} bytes, not ${at + length}`)
  const nameEnd = at + 2 + frame.readUInt16BE(at)
  const qos = (first >> 1) & 3
  const payloadAt = nameEnd + (qos > 0 ? 2 : 0)
  return {
    type: first >> 4,
    dup: (first >> 3) & 1,
    qos,
    retain: first & 1,
    topic: frame.toString('utf8', at + 2, nameEnd),
    packetId: qos > 0 ? frame.readUInt16BE(nameEnd) : undefined,
    payload: frame.subarray(payloadAt),
  }
}

const plain = { type: 3, dup: 0, retain: 0 }

test.each([0, 1, 60, 70, 127, 128, 16_000, 16_383, 16_384, 262_144])(
  'a payload of %i bytes is framed for each device and QoS',
  (bytes) => {
    const payload = Buffer.alloc(bytes, 'x')
    const frame = new PublishFrame('command', payload)
    expect(frame.length).toBe(bytes)
    for (const packetId of [1, 256, 65_535]) {
      const deviceId = randomUUID()
      const topic = topicOf(deviceId, 'command')
      const atLeastOnce = readPublish(frame.to(deviceId, 1, packetId))
      expect(atLeastOnce).toEqual({ ...plain, qos: 1, topic, packetId, payload })
      const atMostOnce = readPublish(frame.to(deviceId, 0, packetId))
      expect(atMostOnce).toEqual({ ...plain, qos: 0, topic, packetId: undefined, payload })
    }
  },
)

test('what was made for one device is not changed by what is made for the next', () => {
  const frame = new PublishFrame('bundle', Buffer.from('{"n":1}'))
  const [a, b] = [randomUUID(), randomUUID()]
  const first = frame.to(a, 1, 7)
  const second = frame.to(b, 1, 8)
  expect(readPublish(first)).toMatchObject({ topic: topicOf(a, 'bundle'), packetId: 7 })
  expect(readPublish(second)).toMatchObject({ topic: topicOf(b, 'bundle'), packetId: 8 })
})

test('a head and a payload of its length are a packet', () => {
  const payload = Buffer.from('block')
  const topic = topicOf(randomUUID(), 'chunk')
  const head = publishHead(topic, 0, payload.length)
  expect(readPublish(Buffer.concat([head, payload]))).toMatchObject({ ...plain, topic, payload })
  expect(() => readPublish(Buffer.concat([head, payload, payload]))).toThrow('bytes')
})
