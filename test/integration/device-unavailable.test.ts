import { type RequestHandler, Router } from 'express'
import { expect, test } from 'vitest'

import { renderEstError } from '../../server/enrollment/est-format.ts'
import { DomainError } from '../../server/errors.ts'
import { requireDevice } from '../../server/http/device-auth.ts'
import { listenAsDevice } from '../support/device-listener.ts'

/** A request of a device whose certificate was judged so. */
const judged =
  (refusal: string): RequestHandler =>
  (_req, res, next) => {
    res.locals['clientCertificate'] = { status: 'refused', refusal }
    next()
  }

const failing = (...args: ConstructorParameters<typeof DomainError>): RequestHandler => {
  return () => {
    throw new DomainError(...args)
  }
}

test('a device that cannot be served now is told when to come again; one that never will be is not', async () => {
  const router = Router()
  router.get('/unknown', judged('status-unknown'), requireDevice)
  router.get('/disabled', judged('device-disabled'), requireDevice)
  router.get('/limited', failing('rate-limited', 'Too many', { retryAfterSeconds: 17 }))
  const est = Router()
  est.get('/busy', failing('busy', 'Not now'))
  est.get('/queue', failing('busy', 'Not now', { retryAfterSeconds: 9 }))
  est.get('/limited', failing('rate-limited', 'Too many'))
  est.get('/refused', failing('not-allowed', 'No'))
  est.use(renderEstError)
  await using listener = await listenAsDevice(router, Router().use('/est', est))
  const answerTo = async (path: string) => {
    const answer = await fetch(listener.url + path)
    return [answer.status, answer.headers.get('retry-after')]
  }
  expect(await answerTo('/unknown')).toEqual([503, '5'])
  expect(await answerTo('/disabled')).toEqual([403, null])
  expect(await answerTo('/limited')).toEqual([429, '17'])
  expect(await answerTo('/est/busy')).toEqual([503, '5'])
  expect(await answerTo('/est/queue')).toEqual([503, '9'])
  expect(await answerTo('/est/limited')).toEqual([429, '60'])
  expect(await answerTo('/est/refused')).toEqual([403, null])
})
