/** MQTT topics (interfaces.md), shared by the broker and by devices. Nothing here knows about either. */
export const topicRoot = 'fleetseal/v1'

/** What a device may publish, and what the server publishes to it, under `fleetseal/v1/<deviceId>/`. */
export const deviceLeaves = ['hello', 'report', 'choice', 'event', 'command-result', 'get'] as const
export const serverLeaves = ['bundle', 'command', 'chunk'] as const
export type DeviceLeaf = (typeof deviceLeaves)[number]
export type ServerLeaf = (typeof serverLeaves)[number]

export function topicOf(deviceId: string, leaf: DeviceLeaf | ServerLeaf): string {
  return `${topicRoot}/${deviceId}/${leaf}`
}

/** Takes apart a full topic; undefined when it is not `fleetseal/v1/<id>/<leaf>` exactly. */
export function parseTopic(topic: string): { deviceId: string; leaf: string } | undefined {
  const [a, b, deviceId, leaf, ...rest] = topic.split('/')
  if (`${a}/${b}` !== topicRoot || !deviceId || !leaf || rest.length > 0) return undefined
  return { deviceId, leaf }
}
