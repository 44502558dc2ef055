import {
  deviceLeaves,
  type DeviceLeaf,
  parseTopic,
  type ServerLeaf,
  serverLeaves,
  topicOf,
  topicRoot,
} from '../protocol/topics.ts'
import type { Limits } from './limits.ts'
import { Refused } from './refusal.ts'
import type { Granted } from './session.ts'

/** The parts of a CONNECT that the rules look at. */
export interface ConnectRequest {
  protocolVersion?: number | undefined
  bridgeMode?: boolean | undefined
  keepalive?: number | undefined
}

/**
 * MQTT 3.1.1 only, with a keepalive that notices a dead connection (3.1.1 §3.1.2.10; 0 would mean never).
 *
 * @throws Refused `protocol-version`, `keepalive-refused`
 */
export function checkConnect(request: ConnectRequest, limits: Limits): void {
  const { protocolVersion = 0, keepalive = 0, bridgeMode } = request
  if (protocolVersion !== 4 || bridgeMode)
    throw new Refused('protocol-version', { protocolVersion })
  if (keepalive < limits.minKeepaliveSeconds || keepalive > limits.maxKeepaliveSeconds) {
    throw new Refused('keepalive-refused', { keepalive })
  }
}

/**
 * What a device may publish: its own leaves (interfaces.md), QoS 0 or 1, never retained. Everything else is refused,
 * `$SYS/` included: with Aedes' own guard replaced, this is the only thing between a device and another's session.
 *
 * @returns the leaf
 * @throws Refused `qos-refused`, `retain-refused`, `topic-refused`
 */
export function checkPublish(
  deviceId: string,
  packet: { topic: string; qos: number; retain: boolean },
): DeviceLeaf {
  if (packet.qos > 1) throw new Refused('qos-refused', { qos: packet.qos })
  if (packet.retain) throw new Refused('retain-refused')
  const topic = parseTopic(packet.topic)
  const leaf = deviceLeaves.find((known) => known === topic?.leaf)
  if (!leaf || topic?.deviceId !== deviceId) {
    throw new Refused('topic-refused', { topic: packet.topic.slice(0, 200) })
  }
  return leaf
}

/**
 * What a device may subscribe to: its own server leaves by name, or all under its own id.
 *
 * @throws Refused `filter-refused`
 */
export function checkFilter(deviceId: string, filter: string): void {
  if (filter === `${topicRoot}/${deviceId}/#` || filter === `${topicRoot}/${deviceId}/+`) return
  if (serverLeaves.some((leaf) => filter === topicOf(deviceId, leaf))) return
  throw new Refused('filter-refused', { filter: filter.slice(0, 200) })
}

/**
 * The QoS at which each leaf may be sent: the highest that was granted to a filter that covers it (MQTT 3.1.1 §3.3.5). A leaf that
 * no filter covers is not in it.
 */
export function grantsOf(deviceId: string, filters: ReadonlyMap<string, 0 | 1>): Granted {
  const granted: Partial<Record<ServerLeaf, 0 | 1>> = {}
  for (const leaf of serverLeaves) {
    const covering = [
      topicOf(deviceId, leaf),
      `${topicRoot}/${deviceId}/#`,
      `${topicRoot}/${deviceId}/+`,
    ]
    for (const filter of covering) {
      const qos = filters.get(filter)
      if (qos !== undefined && qos >= (granted[leaf] ?? 0)) granted[leaf] = qos
    }
  }
  return granted
}
