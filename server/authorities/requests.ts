import { readCaAnswer } from '../../pki/ceremony/ca-answer.ts'
import { readCaRequest, writeCaRequest } from '../../pki/ceremony/ca-request.ts'
import { type Certificate, fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Config } from '../config.ts'
import { DomainError } from '../errors.ts'
import type { PublicUrls } from './authorities.ts'
import { hasRootCrl } from './authority-certificate.ts'
import { defaultAlgorithm, newAuthorityKey } from './authority-key.ts'
import {
  addAuthority,
  announceAuthorities,
  assertNewKey,
  assertSeries,
  type AuthorityDeps,
  type By,
  changing,
  refusing,
} from './changes.ts'
import { authorityName, type Choices, newMark, untouched } from './hierarchy.ts'
import {
  deleteRequest,
  findRequest,
  getRequest,
  insertRequest,
  type RequestRow,
  countRequests,
} from './request-store.ts'
import type { IssuerPurpose } from './state.ts'
import { type AuthorityRow, findAuthority, getAuthority } from './store.ts'

const maxRequests = 16

export interface CreateRequest extends By, Choices {
  id: string
  purpose: IssuerPurpose
}

/**
 * A new key for an authority, and the file that asks the active root to certify it. The same id again is the same request.
 */
export async function createRequest(
  ctx: AuthorityDeps,
  { id, purpose, series, algorithm, keyUri, ...by }: CreateRequest,
): Promise<RequestRow> {
  const { root, urls } = ctx.authorities
  const before = await findRequest(ctx.db, id)
  if (before) return before
  assertSeries(purpose, series)
  const now = ctx.clock.now()
  const hasCrl = root.signer !== undefined || (await hasRootCrl(ctx.db, root.id))
  const { kek, config } = ctx
  const choices = { series, algorithm, keyUri }
  const making = { kek, now, urls, config, id, purpose, root, hasCrl, ...choices }
  const row = await makeRequest(making)
  return await changing(ctx, async (tx) => {
    const known = await findRequest(tx, id)
    if (known) return known
    await assertNewKey(tx, row.key_uri, readCaRequest(row.request).csr.spki)
    if ((await countRequests(tx)) >= maxRequests) {
      throw new DomainError('quota-exhausted', `At most ${maxRequests} requests are open: end one`)
    }
    await insertRequest(tx, row)
    await recordAudit(tx, {
      at: now,
      actor: by.actor,
      action: 'authority.request',
      subject: id,
      facts: { purpose, name: row.name, series: row.series, keyUri: row.key_uri, rootId: root.id },
      ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
    })
    return row
  })
}

export async function makeRequest(
  input: Choices & {
    kek: Buffer
    now: Date
    urls: PublicUrls
    config: Pick<Config, 'pkcs11'>
    id: string
    purpose: IssuerPurpose
    root: { id: string; certificate: Certificate }
    /** Certificates point to a list of the root once there is one: without its key nobody here can make it. */
    hasCrl: boolean
  },
): Promise<RequestRow> {
  const { now, urls, id, purpose, root, hasCrl } = input
  const { name, subject, series } = authorityName(purpose, { ...input, mark: newMark() })
  const algorithm = input.algorithm ?? defaultAlgorithm(root.certificate)
  const { signer, stored } = await newAuthorityKey({ ...input, algorithm })
  const request = await writeCaRequest(signer, {
    subject,
    ...(hasCrl ? { crlUrl: urls.crl(root.id) } : {}),
    aiaUrl: urls.issuer(root.id),
  })
  return { id, purpose, name, series, root_id: root.id, request, ...stored, created_at: now }
}

/**
 * Takes the root's answer to a request: the authority is there from then on, prepared, or active as the first of its
 * purpose. The same answer again is the same authority.
 *
 * @throws DomainError `invalid-request` when it is not the answer of that root to that request
 */
export async function answerRequest(
  ctx: AuthorityDeps,
  { id, answer, ...by }: By & { id: string; answer: string },
): Promise<AuthorityRow> {
  const now = ctx.clock.now()
  const known = await findAuthority(ctx.db, id)
  if (known) return known
  const request = await getRequest(ctx.db, id)
  const root = parseCertificate((await getAuthority(ctx.db, request.root_id)).certificate)
  const issued = await refusing(() => readAnswer(answer, request, root))
  const added = await changing(ctx, async (tx) => {
    const before = await findAuthority(tx, id)
    if (before) return before
    await getRequest(tx, id)
    const row = rowOf(request, issued, now)
    const facts = { fingerprint: fingerprint(issued.der) }
    const stored = await addAuthority(tx, row, { ...by, facts })
    await deleteRequest(tx, id)
    return stored
  })
  await announceAuthorities(ctx, [id])
  return added
}

/** @throws PkiError */
export function readAnswer(answer: string, request: RequestRow, root: Certificate): Certificate {
  return readCaAnswer(answer, readCaRequest(request.request), root)
}

export function rowOf(request: RequestRow, issued: Certificate, now: Date): AuthorityRow {
  return {
    id: request.id,
    purpose: request.purpose,
    name: request.name,
    series: request.series,
    state: 'prepared',
    issuer_id: request.root_id,
    certificate: issued.der,
    wrapped_key: request.wrapped_key,
    key_uri: request.key_uri,
    ...untouched,
    created_at: now,
    changed_at: now,
  }
}

/** Gives a request up, with its key. Giving it up again changes nothing. */
export async function endRequest(ctx: AuthorityDeps, { id, ...by }: By & { id: string }) {
  await changing(ctx, async (tx) => {
    const row = await findRequest(tx, id)
    if (!row) return
    await deleteRequest(tx, id)
    await recordAudit(tx, {
      at: ctx.clock.now(),
      actor: by.actor,
      action: 'authority.end-request',
      subject: id,
      facts: { purpose: row.purpose, name: row.name },
      ...(by.requestId === undefined ? {} : { requestId: by.requestId }),
    })
  })
}
