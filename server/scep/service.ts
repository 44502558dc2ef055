import { PkiError } from '../../pki/errors.ts'
import { buildCertRep, scepFailureOf, type ScepOutcome } from '../../pki/scep/reply.ts'
import {
  openScepRequest,
  type ScepLeniency,
  type ScepMessage,
  type ScepRequest,
  verifyScepMessage,
} from '../../pki/scep/request.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { type RegistrationAuthority, registrationAuthorities } from '../authorities/scep-ra.ts'
import { latestCrl } from '../certificates/crl.ts'
import { spkiHash } from '../certificates/intent.ts'
import type { Profile, Token } from '../enrollment/challenge.ts'
import { findChallengeById } from '../enrollment/challenge.ts'
import { enroll } from '../enrollment/enroll.ts'
import type { IssueDeps } from '../enrollment/issue.ts'
import { renew } from '../enrollment/renew.ts'
import { namesOf, readRequest } from '../enrollment/request.ts'
import { DomainError } from '../errors.ts'
import { noteEvent } from '../events/record.ts'
import type { Identity } from '../identity.ts'
import { takeMessage } from './replay.ts'
import { findCertificateOf, findTransaction } from './store.ts'

export interface Asked {
  profile: Profile
  leniency: ScepLeniency
  /** pkiMessage, DER. */
  der: Buffer
  address: string
  /** The challenge a request presents; throws DomainError. */
  authenticate: (challenge: string | undefined) => Promise<Token>
}

/**
 * Answers one SCEP message (RFC 8894 §3, §4): every type is handled here or refused. What could be answered is, with a
 * signed failure that says why, in words; only a message whose signature does not verify gets no more than a status.
 *
 * @returns CertRep, DER
 * @throws DomainError `invalid-request` for a message that cannot be answered; `busy`, `rate-limited` for one to send again later
 */
export async function answerMessage(ctx: IssueDeps, asked: Asked): Promise<Buffer> {
  const message = verified(asked)
  const authorities = await registrationAuthorities(ctx, asked.profile.issuer_series)
  const [newest] = authorities
  const opened = await open(message, authorities)
  if ('failure' in opened) return await buildCertRep(message, opened.failure, newest.responder)
  const { request, authority } = opened
  return await buildCertRep(request, await outcomeOf(ctx, asked, request), authority.responder)
}

function verified({ der, leniency }: Asked): ScepMessage {
  try {
    return verifyScepMessage(der, leniency)
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw new DomainError('invalid-request', `The message is refused: ${error.message}`)
  }
}

/** Devices encrypt to the certificate they fetched, which may be an older one. Every failure looks the same (S3). */
async function open(
  message: ScepMessage,
  authorities: readonly [RegistrationAuthority, ...RegistrationAuthority[]],
): Promise<{ request: ScepRequest; authority: RegistrationAuthority } | { failure: ScepOutcome }> {
  let failure: PkiError | undefined
  for (const authority of authorities) {
    try {
      return { request: await openScepRequest(message, authority.decrypter), authority }
    } catch (error) {
      if (!(error instanceof PkiError)) throw error
      failure ??= error
    }
  }
  if (!failure) throw new Error('There is no registration authority')
  return { failure: { status: 'failure', failure: scepFailureOf(failure) } }
}

async function outcomeOf(ctx: IssueDeps, asked: Asked, request: ScepRequest): Promise<ScepOutcome> {
  try {
    return await handle(ctx, asked, request)
  } catch (error) {
    if (!(error instanceof DomainError)) throw error
    return refusal(ctx, asked, { request, error })
  }
}

async function handle(ctx: IssueDeps, asked: Asked, request: ScepRequest): Promise<ScepOutcome> {
  switch (request.type) {
    case 'PKCSReq':
      return await first(ctx, asked, request)
    case 'RenewalReq':
      return await next(ctx, asked, request)
    case 'CertPoll':
      return await poll(ctx, asked, request)
    case 'GetCert': {
      const identity = await signerOf(ctx, request)
      await takeMessage(ctx, request)
      return await certificateOf(ctx, identity, request)
    }
    case 'GetCRL': {
      await signerOf(ctx, request)
      await takeMessage(ctx, request)
      return await crlOf(ctx, request)
    }
    default:
      throw new DomainError('invalid-request', 'This type of message is not offered')
  }
}

type Of<T extends ScepRequest['type']> = Extract<ScepRequest, { type: T }>
/** Both name a certificate. */
type Query = Of<'GetCert' | 'GetCRL'>

async function first(
  ctx: IssueDeps,
  { profile, authenticate }: Asked,
  request: Of<'PKCSReq'>,
): Promise<ScepOutcome> {
  const csr = readRequest(request.csr.der)
  const token = await authenticate(csr.challengePassword)
  if (token.identity !== namesOf(csr).serialNumber) {
    throw new DomainError('not-allowed', 'This challenge is for another device')
  }
  const { spki } = csr
  await takeMessage(ctx, request, { profileId: profile.id, tokenId: token.id, csr: csr.der, spki })
  return issued(ctx, await enroll(ctx, { token, profile, csr }))
}

/** Only with the certificate in use: one that was replaced, revoked or issued by somebody else renews nothing. */
async function next(
  ctx: IssueDeps,
  { profile }: Asked,
  request: Of<'RenewalReq'>,
): Promise<ScepOutcome> {
  const identity = await signerOf(ctx, request)
  const csr = readRequest(request.csr.der)
  const { spki } = csr
  await takeMessage(ctx, request, { profileId: profile.id, tokenId: null, csr: csr.der, spki })
  return issued(ctx, await renew(ctx, { identity, csr, label: profile.name, mayOmitSan: true }))
}

async function poll(
  ctx: IssueDeps,
  { profile }: Asked,
  request: Of<'CertPoll'>,
): Promise<ScepOutcome> {
  const { transactionId, signer } = request
  const row = await findTransaction(ctx.db, profile.id, transactionId)
  const isOurs = row?.spki_sha256.equals(spkiHash(signer.spki)) ?? false
  const token = row?.token_id && isOurs ? await findChallengeById(ctx.db, row.token_id) : undefined
  if (!row || !token) throw new DomainError('not-found', 'There is no such transaction of this key')
  const csr = readRequest(row.csr)
  const { spki } = csr
  await takeMessage(ctx, request, { profileId: profile.id, tokenId: token.id, csr: row.csr, spki })
  return issued(ctx, await enroll(ctx, { token, profile, csr }))
}

function issued({ authorities }: IssueDeps, der: Buffer): ScepOutcome {
  const { issuer } = parseCertificate(der)
  const found = authorities.deviceIssuers.find(({ certificate }) =>
    certificate.subject.equals(issuer),
  )
  return { status: 'success', certificates: [der, (found ?? authorities.devices).der] }
}

/**
 * The device whose certificate signed, byte for byte one that we issued and that may act now.
 *
 * @throws DomainError `not-allowed`, `busy` while that cannot be established
 */
async function signerOf({ identities }: IssueDeps, message: ScepMessage): Promise<Identity> {
  const print = fingerprint(message.signerCertificate)
  const checked = identities.peek(print) ?? (await identities.check(print))
  const verdict = identities.peek(print) ?? checked
  if (verdict.allowed) return verdict.identity
  if (verdict.refusal === 'status-unknown') {
    throw new DomainError('busy', 'The status of this certificate cannot be established now')
  }
  throw new DomainError(
    'not-allowed',
    `Sign with the certificate the device has now: ${verdict.refusal}`,
  )
}

async function certificateOf(
  ctx: IssueDeps,
  { deviceId }: Identity,
  { issuer, serial }: Query,
): Promise<ScepOutcome> {
  const authorityId = authorityNamed(ctx, issuer)
  const der = authorityId && (await findCertificateOf(ctx.db, { deviceId, authorityId, serial }))
  if (!der) throw new DomainError('not-found', 'This device has no such certificate')
  return { status: 'success', certificates: [der] }
}

async function crlOf(ctx: IssueDeps, { issuer }: Query): Promise<ScepOutcome> {
  const authorityId = authorityNamed(ctx, issuer)
  const crl = authorityId && (await latestCrl(ctx.db, authorityId))
  if (!crl) throw new DomainError('not-found', 'There is no such issuer of devices')
  return { status: 'success', crl: crl.der }
}

function authorityNamed({ authorities }: IssueDeps, issuer: Buffer): string | undefined {
  return authorities.deviceIssuers.find(({ certificate }) => certificate.subject.equals(issuer))?.id
}

/** What a device is told; what it should send again later is for HTTP to say. */
function refusal(
  ctx: IssueDeps,
  { profile, address }: Asked,
  { request, error }: { request: ScepRequest; error: DomainError },
): ScepOutcome {
  const { code } = error
  const text = error.message.slice(0, 200)
  if (code === 'busy' || code === 'rate-limited') throw error
  if (code === 'not-ready') return { status: 'pending' }
  if (code === 'not-found') return { status: 'failure', failure: 'badCertId', text }
  noteEvent(ctx, {
    source: 'server',
    kind: 'enrollment-refused',
    severity: 'warning',
    facts: {
      profile: profile.name,
      protocol: 'scep',
      message: request.type,
      code,
      reason: text,
      address,
    },
  })
  return { status: 'failure', failure: 'badRequest', text }
}
