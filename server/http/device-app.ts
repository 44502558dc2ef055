import express, { type Express } from 'express'

import type { BlockPool } from '../artifacts/block-pool.ts'
import { artifactRouter } from '../artifacts/device-router.ts'
import type { Context } from '../context.ts'
import type { QuietDevices } from '../ddi/quiet-devices.ts'
import { ddiRouter } from '../ddi/router.ts'
import { targetTokens } from '../ddi/token-auth.ts'
import { estRouter } from '../enrollment/est-router.ts'
import { DomainError } from '../errors.ts'
import { tufRouter } from '../metadata/device-router.ts'
import { scepRouter } from '../scep/router.ts'
import { deviceAuth, requireDevice } from './device-auth.ts'
import { renderProblem } from './problem.ts'
import { rememberOrigin } from './remember-origin.ts'
import { requestLog } from './request-log.ts'

/** The devices' listener: EST, and behind a device's certificate its downloads and update metadata. */
export function createDeviceApp(
  ctx: Context,
  downloads?: BlockPool,
  quiet?: QuietDevices,
): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(requestLog(ctx, 'device'))
  app.use(rememberOrigin)
  app.use(deviceAuth(ctx))
  app.use('/.well-known/est', estRouter(ctx))
  app.use('/scep', scepRouter(ctx))
  const ddi = ddiRouter(ctx, { downloads, quiet })
  app.use(targetTokens(ctx, ddi))
  app.use(requireDevice)
  app.use(artifactRouter(ctx, {}, downloads))
  app.use(tufRouter(ctx))
  app.use(ddi)
  app.use((req) => {
    throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
  })
  app.use(renderProblem)
  return app
}
