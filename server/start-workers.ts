import { alertWorkers } from './alerts/workers.ts'
import { checkpointWorkers } from './audit/checkpoints.ts'
import { refusalWorkers } from './audit/refusals.ts'
import { retentionWorkers } from './audit/retention.ts'
import { auditWorkers } from './audit/seal.ts'
import { SyslogStream } from './audit/syslog.ts'
import { webhookStreamWorkers } from './audit/webhook-stream.ts'
import { authorityWorker } from './authorities/changes.ts'
import { keyWorker } from './authorities/destroy-key.ts'
import { serverCertificateWorker } from './authorities/server-certificate.ts'
import { backupWorkers } from './backup/service.ts'
import { crlWorker } from './certificates/crl.ts'
import type { Context } from './context.ts'
import type { QuietDevices } from './ddi/quiet-devices.ts'
import { ddiWorkers } from './ddi/workers.ts'
import { deltaWorkers } from './deltas/workers.ts'
import { deploymentWorkers } from './deployments/workers.ts'
import { diskWorkers } from './disk.ts'
import { renewalWorkers } from './enrollment/renewal-worker.ts'
import { enrollmentWorkers } from './enrollment/workers.ts'
import { groupWorkers } from './groups/dynamic.ts'
import { metadataWorkers } from './metadata/workers.ts'
import { rolloutWorkers } from './rollouts/workers.ts'
import { scepWorkers } from './scep/workers.ts'
import { signInWorkers } from './sign-in/workers.ts'
import { ticketWorkers } from './tickets/workers.ts'
import { transparencyWorkers } from './transparency/workers.ts'
import { Courier } from './webhooks/courier.ts'
import { webhookWorkers } from './webhooks/workers.ts'
import { cleanupWorkers } from './workers/cleanup.ts'
import { run, type Worker } from './workers/worker.ts'

/** Those that speak to the devices connected to their own process. */
const nearDevices = new Set(['rollouts.meet', 'renewal-hints'])

/**
 * Runs the workers that belong to a process of this kind until the stack is disposed: of a broker those that speak to its devices or keep its
 * own memory; of the process beside brokers all others; of a process that is everything, everything. Each may run in many
 * processes, so one too many costs a look at the database and no more.
 */
export function startWorkers(
  ctx: Context,
  stack: AsyncDisposableStack,
  quiet: QuietDevices | undefined,
): void {
  const { role, brokers } = ctx.config
  const isNear = ({ name }: Worker) => nearDevices.has(name)
  const hasDevices = role !== 'api' && brokers === 0
  const near = hasDevices ? [...rolloutWorkers(ctx), ...renewalWorkers(ctx)].filter(isNear) : []
  const workers = [
    ...refusalWorkers(ctx),
    serverCertificateWorker(ctx),
    authorityWorker(ctx),
    ...ticketWorkers(ctx),
    ...near,
    ...(quiet ? ddiWorkers(ctx, quiet) : []),
    ...(role === 'broker' ? [] : central(ctx, stack).filter((worker) => !isNear(worker))),
  ]
  const stop = new AbortController()
  const running = workers.map(async (worker) => await run(worker, ctx, stop.signal))
  stack.defer(async () => {
    stop.abort()
    await Promise.all(running)
  })
}

function central(ctx: Context, stack: AsyncDisposableStack): Worker[] {
  const { syslog } = ctx.config
  return [
    ...auditWorkers(ctx),
    ...checkpointWorkers(ctx),
    ...retentionWorkers(ctx),
    ...webhookStreamWorkers(ctx),
    ...(syslog ? [stack.use(new SyslogStream(ctx, syslog)).worker()] : []),
    ...cleanupWorkers(ctx),
    ...webhookWorkers(ctx),
    ...alertWorkers(ctx),
    stack.use(new Courier(ctx)).worker(),
    ...diskWorkers(ctx),
    ...backupWorkers(ctx),
    ...groupWorkers(ctx),
    ...enrollmentWorkers(ctx),
    ...renewalWorkers(ctx),
    ...scepWorkers(ctx),
    ...signInWorkers(ctx),
    ...metadataWorkers(ctx),
    ...transparencyWorkers(ctx),
    ...rolloutWorkers(ctx),
    ...deploymentWorkers(ctx),
    ...deltaWorkers(ctx),
    crlWorker(ctx),
    keyWorker(ctx),
  ]
}
