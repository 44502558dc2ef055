import { type RawBuilder, type SqlBool, sql } from 'kysely'

import { defaultSeries } from '../authorities/state.ts'
import { certificateComponent } from '../deployments/state.ts'
import { openStates } from '../protocol/deployment.ts'

/** Is `certificate`, under this name in the statement, what `rollout` wants its devices to have? */
export function isWanted(certificate: 'certificate' | 'made'): RawBuilder<SqlBool> {
  const one = sql.raw(certificate)
  return sql<SqlBool>`(
    (rollout.certificate_issuer is null or ${one}.authority_id = rollout.certificate_issuer)
    and (rollout.certificate_before is null or ${one}.created_at >= rollout.certificate_before))`
}

/**
 * Would the next certificate of `device` come from the issuer that `rollout` wants? Its profile names a series of issuers; without a profile
 * it stays with the series of `authority`, which issued its present one.
 */
export function mayComeFrom(): RawBuilder<SqlBool> {
  return sql<SqlBool>`(rollout.certificate_issuer is null or exists (
    select from authority wanted where wanted.id = rollout.certificate_issuer and wanted.series = coalesce(
      (select coalesce(profile.issuer_series, ${defaultSeries}) from enrollment_profile profile
        where profile.id = device.enrollment_profile_id), authority.series)))`
}

/** Did `device` neither take part in `rollout` nor begin to renew for another one? */
export function isNotRenewing(): RawBuilder<SqlBool> {
  return sql<SqlBool>`not exists (select from deployment met where met.device_id = device.id
    and met.component = ${sql.lit(certificateComponent)}
    and (met.rollout_id = rollout.id or met.state in (${open})))`
}

const open = sql.join(openStates.map((state) => sql.lit(state)))

/** The certificate that the device uses. */
export const isInUse = sql<SqlBool>`(certificate.device_id = device.id and certificate.kind = 'device'
  and certificate.state = 'issued' and not exists (select from certificate replaced
    where replaced.id = certificate.replaces_id and replaced.state = 'issued'))`
