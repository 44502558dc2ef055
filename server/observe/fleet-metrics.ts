import { Gauge, type Registry } from 'prom-client'

import { listBackups } from '../backup/service.ts'
import type { Context } from '../context.ts'
import { type FleetMetric, type FleetNumber, readFleet } from './fleet-store.ts'

/** Scrapers may come as often as they like; the database is asked once in this time. */
const freshMs = 15_000

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'metrics' | 'authorities' | 'config'>

/**
 * Gauges of what the database knows, on `ctx.metrics.registry`. Returns what brings them up to date: called before the registry is read.
 * When the database does not answer, the gauges of the fleet are left out rather than shown as they were, and
 * `fleetseal_fleet_readable` is 0: a graph that stands still looks like a fleet that is well.
 */
export function createFleetMetrics(ctx: Deps): () => Promise<void> {
  const known = made.get(ctx.metrics.registry) ?? make(ctx)
  made.set(ctx.metrics.registry, known)
  return known
}

/** Two apps on one registry show the same gauges. */
const made = new WeakMap<Registry, () => Promise<void>>()

function make(ctx: Deps): () => Promise<void> {
  const gauges = makeGauges(ctx.metrics.registry)
  let readAt = Number.NEGATIVE_INFINITY
  let reading: Promise<void> | undefined
  return async () => {
    const now = ctx.clock.now()
    const age = now.getTime() - readAt
    if (age >= 0 && age < freshMs) return
    reading ??= refresh(ctx, gauges, now).finally(() => {
      readAt = now.getTime()
      reading = undefined
    })
    await reading
  }
}

type Gauges = ReturnType<typeof makeGauges>

function makeGauges(registry: Registry) {
  const registers = [registry]
  const gauge = (name: string, help: string, label: string) =>
    new Gauge({ name: `fleetseal_${name}`, help, labelNames: [label], registers })
  return {
    readable: new Gauge({
      name: 'fleetseal_fleet_readable',
      help: 'Whether the numbers of the fleet could be read from the database: 1 or 0',
      registers,
    }),
    backupAt: new Gauge({
      name: 'fleetseal_backup_timestamp_seconds',
      help: 'When the newest backup that this server keeps was made; 0 without one',
      registers,
    }),
    backupEvery: new Gauge({
      name: 'fleetseal_backup_interval_seconds',
      help: 'How often this server makes a backup; 0 where it makes none',
      registers,
    }),
    byMetric: {
      devices: [gauge('devices', 'Devices by state', 'state'), 'state'],
      rollouts: [gauge('rollouts', 'Rollouts by state', 'state'), 'state'],
      deployments: [
        gauge(
          'rollout_deployments',
          'Deployments of running and paused rollouts by state',
          'state',
        ),
        'state',
      ],
      queueRows: [
        gauge('queue_rows', 'What waits in a queue; 10,000 stands for more', 'queue'),
        'queue',
      ],
      queueAge: [
        gauge('queue_oldest_timestamp_seconds', 'Since when the oldest of a queue waits', 'queue'),
        'queue',
      ],
      expiry: [
        gauge('expiry_timestamp_seconds', 'When the first thing of a kind expires', 'kind'),
        'kind',
      ],
      certificatesEnding: [
        gauge(
          'device_certificates_ending',
          'Device certificates in use that end within so many days',
          'days',
        ),
        'days',
      ],
    } satisfies Record<FleetMetric, [Gauge, string]>,
  }
}

async function refresh(ctx: Deps, gauges: Gauges, now: Date): Promise<void> {
  const { byMetric, readable } = gauges
  // Files: they are seen also while the database is away.
  await showBackups(ctx, gauges)
  const numbers = await readFleet(ctx.db, now).catch((error: unknown) => {
    ctx.log.warn({ err: error }, 'the numbers of the fleet could not be read')
    return undefined
  })
  for (const [gauge] of Object.values(byMetric)) gauge.reset()
  readable.set(numbers ? 1 : 0)
  for (const { metric, label, value } of [...(numbers ?? []), ...authorityEnds(ctx)]) {
    const [gauge, name] = byMetric[metric]
    gauge.set({ [name]: label }, value)
  }
}

async function showBackups(ctx: Deps, { backupAt, backupEvery }: Gauges): Promise<void> {
  const [newest] = (await listBackups(ctx)).files
  backupAt.set(newest ? Math.floor(newest.madeAt.getTime() / 1000) : 0)
  backupEvery.set(ctx.config.backup ? ctx.config.backup.everyMs / 1000 : 0)
}

/** Certificates that are known to this process: the database keeps them whole. */
function authorityEnds({ authorities }: Deps): FleetNumber[] {
  const seconds = (at: Date) => Math.floor(at.getTime() / 1000)
  const ends = (label: string, value: number): FleetNumber => ({ metric: 'expiry', label, value })
  const { root, deviceIssuers, servers, claims, tls } = authorities
  return [
    ends('server-certificate', seconds(tls.notAfter)),
    ends('root', seconds(root.certificate.notAfter)),
    ends('server-issuer', seconds(servers.certificate.notAfter)),
    ends(
      'device-issuer',
      Math.min(...deviceIssuers.map(({ certificate }) => seconds(certificate.notAfter))),
    ),
    ...(claims ? [ends('claim-issuer', seconds(claims.certificate.notAfter))] : []),
  ]
}
