import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express'
import helmet from 'helmet'

import { accessRoutes } from '../access/routes.ts'
import { alertRoutes } from '../alerts/routes.ts'
import { approvalRequestRoutes } from '../approvals/routes.ts'
import { artifactRoutes } from '../artifacts/routes.ts'
import { auditEvidenceRoutes } from '../audit/evidence-routes.ts'
import { recordRefusals } from '../audit/refusals.ts'
import { auditRoutes } from '../audit/routes.ts'
import { kekRoutes } from '../authorities/kek-routes.ts'
import { authorityRequestRoutes } from '../authorities/request-routes.ts'
import { authorityRoutes } from '../authorities/routes.ts'
import { backupRoutes } from '../backup/routes.ts'
import { rootCrlRoutes } from '../certificates/root-crl-routes.ts'
import { certificateRoutes } from '../certificates/routes.ts'
import type { Context } from '../context.ts'
import { ddiRoutes } from '../ddi/routes.ts'
import { deltaRoutes } from '../deltas/routes.ts'
import { exportRoutes } from '../deployments/export-routes.ts'
import { deploymentRoutes } from '../deployments/routes.ts'
import { deviceRoutes } from '../devices/routes.ts'
import { deviceSummaryRoutes } from '../devices/summary-routes.ts'
import { doctorRoutes } from '../doctor/routes.ts'
import { approvalRoutes } from '../enrollment/approval-routes.ts'
import { batchRoutes } from '../enrollment/batch-routes.ts'
import { credentialRoutes } from '../enrollment/credential-routes.ts'
import { estPolicyRoutes } from '../enrollment/est-policy-routes.ts'
import { profileIssuerRoutes } from '../enrollment/issuer-routes.ts'
import { keyBundleRoutes } from '../enrollment/key-bundle-routes.ts'
import { registrationRoutes } from '../enrollment/registration-routes.ts'
import { enrollmentRoutes } from '../enrollment/routes.ts'
import { DomainError } from '../errors.ts'
import { eventRoutes } from '../events/routes.ts'
import { groupRoutes } from '../groups/routes.ts'
import { metadataRoutes } from '../metadata/routes.ts'
import { modelRoutes } from '../models/routes.ts'
import { createFleetMetrics } from '../observe/fleet-metrics.ts'
import { authenticate, type Authenticator, createAuthenticator } from '../operators/authenticate.ts'
import { operatorCertificateRoutes } from '../operators/certificate-routes.ts'
import { isMetricsToken } from '../operators/metrics-token.ts'
import { operatorRoutes } from '../operators/routes.ts'
import { browserRouter } from '../people/browser-routes.ts'
import { peopleRoutes } from '../people/routes.ts'
import { productVersion } from '../product.ts'
import { releaseRoutes } from '../releases/routes.ts'
import { derivedRolloutRoutes } from '../rollouts/derived-routes.ts'
import { explainRoutes } from '../rollouts/explain-routes.ts'
import { liveRolloutRoutes } from '../rollouts/live-routes.ts'
import { penaltyRoutes } from '../rollouts/penalty-routes.ts'
import { rolloutRoutes } from '../rollouts/routes.ts'
import { windowRoutes } from '../rollouts/window-routes.ts'
import { scepRoutes } from '../scep/routes.ts'
import { settingsRoutes } from '../settings/routes.ts'
import { signInRoutes } from '../sign-in/open-routes.ts'
import { accountRoutes, selfRoutes } from '../sign-in/routes.ts'
import { selfSessionRoutes } from '../sign-in/session-routes.ts'
import { transparencyRoutes } from '../transparency/routes.ts'
import { webhookRoutes } from '../webhooks/routes.ts'
import { workloadRoutes } from '../workloads/routes.ts'
import { allowedActor } from './access.ts'
import { consoleRouter } from './console.ts'
import { docsRouter } from './docs.ts'
import { metricsText } from './metrics-text.ts'
import { mountRoutes } from './mount.ts'
import type { OpenPath } from './open-paths.ts'
import { maxOpenBodyBytes } from './open-route.ts'
import { openApiDocument } from './openapi.ts'
import { renderProblem } from './problem.ts'
import { limitRate } from './rate.ts'
import { createReadiness } from './readiness.ts'
import { rememberOrigin } from './remember-origin.ts'
import { requestLog } from './request-log.ts'
import type { Route } from './route.ts'
import { schemaNames, webhookMessages } from './schema-names.ts'

const prefix = '/api/v1'
const version = productVersion

/** Every call of the REST interface. */
export const routes: readonly Route[] = [
  ...operatorRoutes,
  ...operatorCertificateRoutes,
  ...accountRoutes,
  ...selfRoutes,
  ...selfSessionRoutes,
  ...accessRoutes,
  ...approvalRequestRoutes,
  ...peopleRoutes,
  ...workloadRoutes,
  ...authorityRoutes,
  ...authorityRequestRoutes,
  ...kekRoutes,
  ...groupRoutes,
  ...deviceSummaryRoutes,
  ...deviceRoutes,
  ...penaltyRoutes,
  ...explainRoutes,
  ...enrollmentRoutes,
  ...profileIssuerRoutes,
  ...credentialRoutes,
  ...approvalRoutes,
  ...registrationRoutes,
  ...batchRoutes,
  ...estPolicyRoutes,
  ...scepRoutes,
  ...keyBundleRoutes,
  ...certificateRoutes,
  ...rootCrlRoutes,
  ...artifactRoutes,
  ...modelRoutes,
  ...ddiRoutes,
  ...metadataRoutes,
  ...releaseRoutes,
  ...deltaRoutes,
  ...rolloutRoutes,
  ...derivedRolloutRoutes,
  ...windowRoutes,
  ...liveRolloutRoutes,
  ...settingsRoutes,
  ...transparencyRoutes,
  ...deploymentRoutes,
  ...exportRoutes,
  ...auditRoutes,
  ...auditEvidenceRoutes,
  ...backupRoutes,
  ...doctorRoutes,
  ...eventRoutes,
  ...webhookRoutes,
  ...alertRoutes,
]

/** Calls of the REST interface that need nothing to be shown. */
export const openRoutes = signInRoutes

/** The operators' listener: the REST interface, its description, health and metrics. */
export function createApp(ctx: Context): Express {
  const app = express()
  const authenticator = createAuthenticator(ctx)
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(requestLog(ctx, 'api'))
  app.use(rememberOrigin)
  // Other names below this host are not ours to decide about.
  app.use(helmet({ strictTransportSecurity: { includeSubDomains: false } }))
  app.use((_req, res, next) => {
    res.setHeader('Cache-Control', 'no-store')
    next()
  })
  mountOpen(app, ctx, authenticator)
  app.use('/docs', docsRouter())
  app.use(consoleRouter())
  app.use(browserRouter(ctx))
  mountRoutes(app, ctx, { prefix, routes: openRoutes, maxBytes: maxOpenBodyBytes })
  app.use(prefix, authenticate(authenticator), limitRate(ctx))
  mountRoutes(app, ctx, { prefix, routes })
  app.use((req) => {
    throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
  })
  app.use(closeUnread, recordRefusals(ctx), renderProblem)
  return app
}

/** What needs no API key. A path that is not described in the OpenAPI document does not compile. */
function mountOpen(app: Express, ctx: Context, authenticator: Authenticator): void {
  const document = JSON.stringify(
    openApiDocument(routes, {
      prefix,
      version,
      names: schemaNames,
      open: openRoutes,
      messages: webhookMessages,
    }),
  )
  const readiness = createReadiness(ctx)
  const at = (path: OpenPath, handler: RequestHandler) => {
    app.get(path, (_req, res, next) => {
      res.locals['route'] = path
      next()
    })
    app.get(path, handler)
    app.all(path, (_req, res) => {
      res.setHeader('Allow', 'GET, HEAD')
      throw new DomainError('method-not-allowed', 'Use GET')
    })
  }
  at('/healthz', (_req, res) => {
    res.json({ status: 'ok' })
  })
  at('/readyz', async (_req, res) => {
    const answer = await readiness()
    res.status(answer.status === 'ready' ? 200 : 503).json(answer)
  })
  at('/openapi.json', (_req, res) => {
    res.type('application/json').send(document)
  })
  const refreshFleet = createFleetMetrics(ctx)
  at('/metrics', async (req, res) => {
    if (!(await isMetricsToken(ctx.config, req.get('authorization')))) {
      res.locals['actor'] = await authenticator(req)
      // It counts everybody's devices.
      allowedActor(req, { ...metricsGuard, method: 'get', path: '/metrics' }, ctx)
    }
    await refreshFleet()
    res.type(ctx.metrics.registry.contentType).send(await metricsText(ctx))
  })
}

const metricsGuard = { permission: 'devices:read', scope: 'fleet' } as const

/** Bytes that Node reads and throws away, to keep a connection, after a request was refused unread. */
const maxUnreadBytes = 1024 * 1024

/** A refused upload ends its connection: the rest of it may be gigabytes. */
const closeUnread: ErrorRequestHandler = (error, req, res, next) => {
  const length = Number(req.get('content-length') ?? Number.POSITIVE_INFINITY)
  const hasBody =
    req.get('content-length') !== undefined || req.get('transfer-encoding') !== undefined
  if (hasBody && !req.complete && !res.headersSent && length > maxUnreadBytes) {
    res.setHeader('Connection', 'close')
  }
  next(error)
}
