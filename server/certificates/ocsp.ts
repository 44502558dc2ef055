import { PkiError } from '../../pki/errors.ts'
import {
  answerOcsp,
  type CertStatus,
  type OcspAnswer,
  ocspError,
  type OcspResponder,
  type SerialStatus,
} from '../../pki/ocsp/answer.ts'
import { type CertId, type IssuerHashes, isOfIssuer, issuerHashes } from '../../pki/ocsp/cert-id.ts'
import { type OcspRequest, parseOcspRequest } from '../../pki/ocsp/request.ts'
import type { Authorities, Issuer } from '../authorities/authorities.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { OcspResponders } from './ocsp-responders.ts'
import { reasonNumber } from './state.ts'
import { findSerials, type KnownSerial } from './store.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'> & { authorities: Authorities }

/** How long an answer may be relied upon, and how long one is given out again instead of a new one. */
const validMs = 15 * 60_000
const reuseMs = 5 * 60_000
const maxRemembered = 10_000
const unspecified = 0

interface Remembered {
  status: CertStatus
  answer: OcspAnswer
  untilMs: number
}

/**
 * Answers OCSP requests about what our issuers gave out (RFC 6960). The database is asked every time: an answer that was
 * signed before is given out again only while it still says the truth. When the database cannot be asked, the answer is
 * `tryLater`, never `good`.
 */
export class OcspDesk {
  readonly #deps: Deps
  readonly #responders: OcspResponders
  readonly #hashes = new Map<string, IssuerHashes>()
  readonly #signed = new Map<string, Remembered>()

  constructor(deps: Deps) {
    this.#deps = deps
    this.#responders = new OcspResponders(deps)
  }

  /** @param der of an OCSPRequest, as it came */
  async answer(der: Buffer): Promise<OcspAnswer> {
    const request = readRequest(der)
    if (!request) return ocspError('malformedRequest')
    const [first, ...others] = request.certIds
    try {
      const issuer = first && this.#issuerOf(first)
      if (!issuer) return ocspError('unauthorized')
      const responder = await this.#responders.get(issuer)
      if (others.length === 0 && !request.nonce)
        return await this.#reuse(der, first, issuer, responder)
      const { clock, db } = this.#deps
      const now = clock.now()
      return await answerOcsp(der, responder, (serials) => statuses(db, issuer, serials, now), now)
    } catch (error) {
      this.#deps.log.warn({ err: error }, 'an OCSP request could not be answered')
      return ocspError('tryLater')
    }
  }

  /** An answer for everybody, signed once for as long as the status stays the same. */
  async #reuse(
    der: Buffer,
    { der: certId, serial }: CertId,
    issuer: Issuer,
    responder: OcspResponder,
  ): Promise<OcspAnswer> {
    const now = this.#deps.clock.now()
    const known = await statuses(this.#deps.db, issuer, [serial], now)
    const key = `${issuer.id} ${certId.toString('base64')}`
    const before = this.#signed.get(key)
    const [status] = known
    if (before && status && now.getTime() < before.untilMs && isSame(before.status, status)) {
      return before.answer
    }
    const answer = await answerOcsp(der, responder, async () => known, now)
    this.#signed.delete(key)
    // An unknown serial is not worth the memory: anybody can make them up.
    if (!status || status.status === 'unknown') return answer
    this.#signed.set(key, { status, answer, untilMs: now.getTime() + reuseMs })
    const [oldest] = this.#signed.keys()
    if (this.#signed.size > maxRemembered && oldest !== undefined) this.#signed.delete(oldest)
    return answer
  }

  #issuerOf(certId: CertId): Issuer | undefined {
    return issuersOf(this.#deps.authorities).find((issuer) => {
      const hashes = this.#hashes.get(issuer.id) ?? issuerHashes(issuer.certificate)
      this.#hashes.set(issuer.id, hashes)
      return isOfIssuer(certId, hashes)
    })
  }
}

function readRequest(der: Buffer): OcspRequest | undefined {
  try {
    return parseOcspRequest(der)
  } catch (error) {
    if (error instanceof PkiError) return undefined
    throw error
  }
}

function issuersOf({ deviceIssuers, claims, servers }: Authorities): Issuer[] {
  return [...deviceIssuers, servers, ...(claims ? [claims] : [])]
}

function isSame(a: CertStatus, b: CertStatus): boolean {
  if (a.status !== 'revoked' || b.status !== 'revoked') return a.status === b.status
  return a.reason === b.reason && a.revokedAt.getTime() === b.revokedAt.getTime()
}

/** In the order of the serials. What a CRL would list is revoked, what was issued is good, all else is unknown. */
async function statuses(
  db: Db,
  issuer: Issuer,
  serials: readonly Buffer[],
  now: Date,
): Promise<SerialStatus[]> {
  const rows = await findSerials(db, issuer.id, serials)
  const bySerial = new Map(rows.map((row) => [row.serial.toString('hex'), row]))
  const thisUpdate = new Date(Math.floor(now.getTime() / 1000) * 1000)
  const validity = { thisUpdate, nextUpdate: new Date(thisUpdate.getTime() + validMs) }
  return serials.map((serial) => ({
    ...statusOf(bySerial.get(serial.toString('hex'))),
    ...validity,
  }))
}

function statusOf(row: KnownSerial | undefined): CertStatus {
  switch (row?.state) {
    case 'issued':
    case 'superseded':
      return { status: 'good' }
    case 'held':
    case 'revoked':
    case 'abandoned':
      return {
        status: 'revoked',
        revokedAt: row.revoked_at ?? row.created_at,
        reason: reasonNumber(row.revocation_reason) ?? unspecified,
      }
    case 'pending':
    case undefined:
      return { status: 'unknown' }
    default:
      return { status: 'unknown' }
  }
}
