import { oids } from '../../pki/der/oids.ts'
import { PkiError } from '../../pki/errors.ts'
import { encodeCsrAttributes, readCsrAttributes } from '../../pki/est/csr-attributes.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Db } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { assertVersion, type Versions } from '../version.ts'
import {
  type EstPolicyContent,
  type EstPolicyRow,
  findEstPolicy,
  findEstPolicyOfDevice,
  saveEstPolicy,
} from './est-policy-store.ts'
import { defaultRenewalRules, type RenewalRules } from './renewal-window.ts'
import { keyAlgorithms } from './state.ts'
import { getProfile, lockProfile } from './store.ts'
import type { EstPolicyBody } from './wire.ts'

/** How the devices of a profile renew and speak EST. */
export interface EstPolicy {
  renewal: RenewalRules
  renewalKey: 'any' | 'new' | 'same'
  overlapDays: number | null
  /** CsrAttrs, DER. */
  csrAttributes: Buffer | null
  channelBinding: 'optional' | 'required'
  serverKey: (typeof keyAlgorithms)[number] | null
  changedAt: Date | null
  /** 0: the default. */
  version: number
}

const defaults: EstPolicy = {
  renewal: defaultRenewalRules,
  renewalKey: 'any',
  overlapDays: null,
  csrAttributes: null,
  channelBinding: 'optional',
  serverKey: null,
  changedAt: null,
  version: 0,
}

/** The policy of a profile; the default one where nobody said anything, and for a device without a profile. */
export async function estPolicyOf(db: Db, profileId: string | null): Promise<EstPolicy> {
  return policyIn(profileId === null ? undefined : await findEstPolicy(db, profileId))
}

export async function estPolicyOfDevice(db: Db, deviceId: string): Promise<EstPolicy> {
  return policyIn(await findEstPolicyOfDevice(db, deviceId))
}

/** CsrAttrs, DER; null when nothing is wanted. What is required is asked for, also where nobody wrote a list. */
export function csrAttributesOf({ csrAttributes, channelBinding }: EstPolicy): Buffer | null {
  if (csrAttributes || channelBinding === 'optional') return csrAttributes
  return encodeCsrAttributes([{ kind: 'oid', oid: oids.challengePassword }])
}

export function policyIn(row: EstPolicyRow | undefined): EstPolicy {
  if (!row) return defaults
  return {
    renewal: {
      opensPercent: row.opens_percent,
      jitterPercent: row.jitter_percent,
      graceDays: row.grace_days,
      issuedBefore: row.renew_issued_before,
      spreadHours: row.renew_spread_hours,
    },
    renewalKey: row.renewal_key,
    overlapDays: row.overlap_days,
    csrAttributes: row.csr_attributes,
    channelBinding: row.channel_binding,
    serverKey: keyAlgorithms.find((algorithm) => algorithm === row.server_key) ?? null,
    changedAt: row.changed_at,
    version: row.version,
  }
}

export interface SetEstPolicy {
  profileId: string
  body: EstPolicyBody
  ifMatch?: Versions | undefined
  actor: string
  requestId: string
}

/**
 * Sets the policy of a profile, all of it. Saying the same again changes nothing. It counts from the next request on, also for
 * certificates there are.
 *
 * @throws DomainError `not-found`, `precondition-failed`, `invalid-request`
 */
export async function setEstPolicy(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  { profileId, body, ifMatch, actor, requestId }: SetEstPolicy,
): Promise<EstPolicy> {
  const now = clock.now()
  const row = rowOf(profileId, body, now)
  return await inTransaction(db, async (tx) => {
    await lockProfile(tx, profileId)
    const profile = await getProfile(tx, profileId)
    const before = policyIn(await findEstPolicy(tx, profileId))
    assertVersion(String(before.version), ifMatch)
    if (body.serverKey !== null && !profile.key_policy.includes(body.serverKey)) {
      throw refused('serverKey', 'must be a kind of key that the profile allows')
    }
    if (body.serverKey !== null && profile.approval === 'manual') {
      // Each key is another request: none of them would ever be the one that was approved.
      throw refused('serverKey', 'cannot be offered where requests wait for approval')
    }
    if (await saveEstPolicy(tx, row)) {
      const { csrAttributes, ...facts } = body
      const { csrAttributes: attributesBefore, version: _, ...policyBefore } = before
      await recordAudit(tx, {
        at: now,
        actor,
        action: 'enrollment-profile.est-policy',
        subject: profileId,
        facts: {
          ...facts,
          hasCsrAttributes: csrAttributes !== null,
          before: { ...policyBefore, hasCsrAttributes: attributesBefore !== null },
        },
        requestId,
      })
    }
    return policyIn(await findEstPolicy(tx, profileId))
  })
}

function rowOf(profileId: string, body: EstPolicyBody, now: Date): EstPolicyContent {
  const { renewal } = body
  return {
    profile_id: profileId,
    opens_percent: renewal.opensPercent,
    jitter_percent: renewal.jitterPercent,
    grace_days: renewal.graceDays,
    renewal_key: renewal.key,
    renew_issued_before: renewal.issuedBefore,
    renew_spread_hours: renewal.spreadHours,
    csr_attributes: readAttributes(body),
    channel_binding: body.channelBinding,
    server_key: body.serverKey,
    overlap_days: renewal.overlapDays,
    changed_at: now,
  }
}

function readAttributes({ csrAttributes, channelBinding }: EstPolicyBody): Buffer | null {
  if (csrAttributes === null) return null
  const der = Buffer.from(csrAttributes, 'base64')
  try {
    const asksForBinding = readCsrAttributes(der).some(
      (attribute) => attribute.kind === 'oid' && attribute.oid === oids.challengePassword,
    )
    // RFC 7030 §4.5.2: what is required has to be in the list.
    if (channelBinding === 'required' && !asksForBinding) {
      throw refused('csrAttributes', 'must list challengePassword when channelBinding is required')
    }
  } catch (error) {
    if (!(error instanceof PkiError)) throw error
    throw refused('csrAttributes', `is not a CsrAttrs of RFC 8951: ${error.message}`)
  }
  return der
}

function refused(at: string, why: string): DomainError {
  return new DomainError('invalid-request', `${at} ${why}`, { issues: [{ at, message: why }] })
}
