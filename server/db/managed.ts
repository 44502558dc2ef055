import { type RawBuilder, sql } from 'kysely'

/**
 * Whether the row `device` is one whose owner may be overridden (updates.md §7.2): the profile it enrolled with says that its
 * owner agreed, and the device, which was told at enrollment, says the same. One alone is not enough.
 */
export function isManaged(): RawBuilder<boolean> {
  return sql<boolean>`(device.managed_agreed and (device.managed or exists (
    select from enrollment_profile profile
    where profile.id = device.enrollment_profile_id and profile.managed)))`
}
