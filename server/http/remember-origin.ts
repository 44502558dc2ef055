import type { RequestHandler } from 'express'

import { withOrigin } from '../request-origin.ts'

const maxUserAgent = 200

/** What is recorded while a request is handled says where it came from. Mounted after what gives it its id (request-log.ts). */
export const rememberOrigin: RequestHandler = (req, res, next) => {
  const userAgent = req.get('user-agent')
  const origin = {
    address: (req.socket.remoteAddress ?? 'unknown').replace(/^::ffff:(?=\d+\.)/, ''),
    ...(userAgent === undefined ? {} : { userAgent: userAgent.slice(0, maxUserAgent) }),
  }
  withOrigin(String(res.locals['requestId']), origin, () => next())
}
