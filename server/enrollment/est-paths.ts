import type { Request, Response } from 'express'

import { DomainError } from '../errors.ts'
import { type EstOperation, estOperations } from './state.ts'

/** @throws DomainError `not-found` */
export function pathOf(path: string): { label: string | undefined; operation: EstOperation } {
  const parts = path.split('/').slice(1)
  const operation = estOperations.find((name) => name === parts.at(-1))
  const label = parts.length === 2 ? parts[0] : undefined
  const isLabel = label === undefined || /^[a-z0-9][a-z0-9-]{0,62}$/.test(label)
  if (!operation || parts.length > 2 || !isLabel) {
    throw new DomainError('not-found', 'No such EST operation')
  }
  return { label, operation }
}

const methods: Record<EstOperation, readonly string[]> = {
  cacerts: ['GET', 'HEAD'],
  csrattrs: ['GET', 'HEAD'],
  simpleenroll: ['POST'],
  simplereenroll: ['POST'],
  serverkeygen: ['POST'],
  fullcmc: ['POST'],
}

/** @throws DomainError `method-not-allowed` */
export function allowMethod(req: Request, res: Response, operation: EstOperation): void {
  const allowed = methods[operation]
  if (allowed.includes(req.method)) return
  res.setHeader('Allow', allowed.join(', '))
  throw new DomainError('method-not-allowed', `Use ${allowed.join(' or ')}`)
}

export function notOffered(res: Response, operation: string): void {
  const body = Buffer.from(`${operation} is not offered\n`)
  res.locals['problem'] = 'not-offered'
  res.statusCode = 501
  res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  res.setHeader('Content-Length', body.length)
  res.setHeader('Connection', 'close')
  res.end(body)
}
