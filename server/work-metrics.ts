import { Counter, Gauge, Histogram, type Registry } from 'prom-client'

/** How the work of this process goes: enrollment, signing, messages, workers. */
export function workMetrics(registers: Registry[]) {
  return {
    estRequests: new Counter({
      name: 'fleetseal_est_requests_total',
      help: 'EST requests by operation and outcome: done, waiting for a person, refused, failed',
      labelNames: ['operation', 'outcome'],
      registers,
    }),
    signing: new Histogram({
      name: 'fleetseal_signing_seconds',
      help: 'Duration of signing by what was signed; those that failed too',
      labelNames: ['kind', 'outcome'],
      buckets: [0.0005, 0.002, 0.01, 0.05, 0.25, 1, 5],
      registers,
    }),
    mqttGroups: new Histogram({
      name: 'fleetseal_mqtt_group_seconds',
      help: 'Duration of storing a group of messages, after which they are acknowledged',
      labelNames: ['outcome'],
      buckets: [0.002, 0.005, 0.02, 0.1, 0.5, 2],
      registers,
    }),
    workerSteps: new Histogram({
      name: 'fleetseal_worker_step_seconds',
      help: 'Duration of the steps of workers that had something to do or failed',
      labelNames: ['worker', 'outcome'],
      buckets: [0.005, 0.05, 0.5, 5, 50],
      registers,
    }),
  }
}

/** How devices get their bytes. */
export function artifactMetrics(registers: Registry[]) {
  return {
    artifactBytes: new Counter({
      name: 'fleetseal_artifact_bytes_total',
      help: 'Artifact bytes sent to devices',
      registers,
    }),
    artifactReads: new Counter({
      name: 'fleetseal_artifact_reads_total',
      help: 'Pieces of artifacts sent to devices by HTTPS, from memory where several devices take them, or read from the storage',
      labelNames: ['from'],
      registers,
    }),
    artifactAnswers: new Counter({
      name: 'fleetseal_artifact_answers_total',
      help: 'Requests for bytes of artifacts by HTTPS that were granted: sent from here (direct), or by a link to the store (redirect)',
      labelNames: ['way'],
      registers,
    }),
  }
}

/** The broker processes that this one started. */
export function processMetrics(registers: Registry[]) {
  return {
    brokerProcesses: new Gauge({
      name: 'fleetseal_broker_processes',
      help: 'Broker processes of this server that take devices (FLEETSEAL_BROKERS)',
      registers,
    }),
    brokerRestarts: new Counter({
      name: 'fleetseal_broker_restarts_total',
      help: 'Broker processes that ended by themselves and were started again',
      registers,
    }),
    brokerSilent: new Counter({
      name: 'fleetseal_broker_silent_total',
      help: 'Broker processes left out of an answer of /metrics because they did not say theirs in time',
      registers,
    }),
  }
}

/** How devices come in when many come at once. */
export function admissionMetrics(registers: Registry[]) {
  return {
    handshakesInProgress: new Gauge({
      name: 'fleetseal_handshakes_in_progress',
      help: 'TLS handshakes with devices that have begun and not ended, 64 at most',
      registers,
    }),
    connectionsWaiting: new Gauge({
      name: 'fleetseal_connections_waiting',
      help: 'Connections of devices that wait for their turn to begin TLS',
      registers,
    }),
    connectionsRefused: new Counter({
      name: 'fleetseal_connections_refused_total',
      help: 'Connections of devices closed before TLS: full, or late because they waited too long',
      labelNames: ['reason'],
      registers,
    }),
  }
}

/** What is told of the fleet, and to whom. */
export function eventMetrics(registers: Registry[]) {
  return {
    eventsOptedOut: new Counter({
      name: 'fleetseal_events_opted_out_total',
      help: 'Events that devices sent although their owner switched monitoring off: not stored',
      registers,
    }),
    webhookAttempts: new Counter({
      name: 'fleetseal_webhook_attempts_total',
      help: 'Calls of webhooks by outcome: delivered, failed, dead (given up)',
      labelNames: ['outcome'],
      registers,
    }),
    securityEvents: new Counter({
      name: 'fleetseal_security_events_total',
      help: 'Security events recorded by source and severity',
      labelNames: ['source', 'severity'],
      registers,
    }),
  }
}
