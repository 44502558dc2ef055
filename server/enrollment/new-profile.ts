import { randomBytes } from 'node:crypto'

import { wrapKey } from '../../pki/wrap.ts'
import { DomainError } from '../errors.ts'
import { readWebhookUrl } from '../webhooks/address.ts'
import { readAnchors, subjectHash } from './anchors.ts'
import { compileIdPattern } from './id-pattern.ts'
import { keyAlgorithms } from './state.ts'
import type { Profile } from './store.ts'
import { webhookContext } from './webhook-context.ts'
import type { NewProfileBody } from './wire.ts'

/**
 * The row of a new profile, with everything in it checked.
 *
 * @throws DomainError `invalid-request`, naming the field
 */
export function newProfile(
  id: string,
  body: NewProfileBody,
  { now, kek, privateWebhooks }: { now: Date; kek: Buffer; privateWebhooks: boolean },
): Omit<Profile, 'limited' | 'version'> {
  const { auth, validFrom, validUntil, idPattern, webhook } = body
  if (validFrom && validUntil && validFrom >= validUntil) {
    throw refused('validUntil', 'must be after validFrom')
  }
  if (idPattern !== undefined) compileIdPattern(idPattern)
  const anchors = readAnchors(auth.trustAnchors ?? [])
  if (auth.type === 'token' && anchors.length > 0) {
    throw refused('auth.trustAnchors', 'belong to "certificate" or "claim", not to "token"')
  }
  if (auth.type === 'certificate' && anchors.length === 0) {
    throw refused('auth.trustAnchors', "is missing: give the manufacturer's authorities in PEM")
  }
  const url =
    webhook &&
    readWebhookUrl(webhook.url, { isPrivateAllowed: privateWebhooks, at: 'webhook.url' }).href
  return {
    id,
    name: body.name,
    group_id: body.groupId,
    auth_type: auth.type,
    registration: body.registration,
    id_pattern: idPattern ?? null,
    quota: body.quota ?? null,
    used: 0,
    valid_from: validFrom ?? null,
    valid_until: validUntil ?? null,
    key_policy: [...new Set(body.keyPolicy ?? keyAlgorithms)],
    certificate_days: body.certificateDays,
    trust_anchors: anchors.map(({ der }) => der.toString('base64')),
    anchor_subjects: [...new Set(anchors.map(({ subject }) => subjectHash(subject)))],
    approval: body.approval ?? 'none',
    replaceable: body.replaceable ?? 'off',
    managed: body.managed,
    webhook_url: url ?? null,
    webhook_secret: url === undefined ? null : wrapKey(kek, randomBytes(32), webhookContext(id)),
    issuer_series: body.issuerSeries ?? null,
    paused_at: null,
    source_networks: [...new Set(body.sourceNetworks ?? [])],
    quota_per_hour: body.quotaPerHour ?? null,
    hour_began_at: null,
    hour_used: 0,
    created_at: now,
  }
}

function refused(at: string, why: string): DomainError {
  return new DomainError('invalid-request', `${at} ${why}`, { issues: [{ at, message: why }] })
}
