import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client'

import {
  admissionMetrics,
  artifactMetrics,
  eventMetrics,
  processMetrics,
  workMetrics,
} from './work-metrics.ts'

export type Metrics = ReturnType<typeof createMetrics>

/** What `/metrics` shows. Labels come from closed lists only: a label that a device can choose would have no limit. */
export function createMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'fleetseal_' })
  const registers = [registry]
  return {
    registry,
    httpRequests: new Histogram({
      name: 'fleetseal_http_request_seconds',
      help: 'Duration of HTTP requests by listener, method and status class',
      labelNames: ['listener', 'method', 'status'],
      buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
      registers,
    }),
    proxyRefused: new Counter({
      name: 'fleetseal_https_proxy_refused_total',
      help: 'HTTPS connections from FLEETSEAL_PROXY_FROM closed for want of a PROXY header: bad, late, or gone before it',
      labelNames: ['fault'],
      registers,
    }),
    mqttConnections: new Gauge({
      name: 'fleetseal_mqtt_connections',
      help: 'Devices connected to this process by MQTT',
      registers,
    }),
    mqttRefused: new Counter({
      name: 'fleetseal_mqtt_refused_total',
      help: 'MQTT connections refused or ended, by reason',
      labelNames: ['reason'],
      registers,
    }),
    mqttMessages: new Counter({
      name: 'fleetseal_mqtt_messages_total',
      help: 'Messages from devices by topic leaf and outcome',
      labelNames: ['leaf', 'outcome'],
      registers,
    }),
    certificatesIssued: new Counter({
      name: 'fleetseal_certificates_issued_total',
      help: 'Device certificates issued by this process',
      registers,
    }),
    deploymentsMoved: new Counter({
      name: 'fleetseal_deployments_moved_total',
      help: 'Deployment state changes by new state',
      labelNames: ['state'],
      registers,
    }),
    metadataExpires: new Gauge({
      name: 'fleetseal_metadata_expires_seconds',
      help: 'Unix time at which what is published of a role expires; of all models the earliest',
      labelNames: ['role'],
      registers,
    }),
    ...artifactMetrics(registers),
    ...workMetrics(registers),
    ...processMetrics(registers),
    ...admissionMetrics(registers),
    ...eventMetrics(registers),
  }
}
