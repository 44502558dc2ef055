import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

import express, { type Router } from 'express'

import { renderProblem } from '../../server/http/problem.ts'

export interface DeviceListener extends AsyncDisposable {
  url: string
  port: number
  /** Who the next requests come from; nobody when undefined. */
  deviceId: string | undefined
}

/** Device routers on a loopback port with plain HTTP: the certificate's part is played by `deviceId`. */
export async function listenAsDevice(...routers: Router[]): Promise<DeviceListener> {
  const app = express()
  app.disable('etag')
  app.use((_req, res, next) => {
    const { deviceId } = listener
    if (deviceId) res.locals['identity'] = { deviceId, certificateId: '', fingerprint: '' }
    next()
  })
  app.use(...routers)
  app.use(renderProblem)
  const server = createServer(app)
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const listener: DeviceListener = {
    url: `http://127.0.0.1:${port}`,
    port,
    deviceId: undefined,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
  return listener
}
