import { type RawBuilder, sql } from 'kysely'

/** What a rollout, the groups of a device, the device itself and the organisation's calendars say, as it is stored. */
export interface WindowFacts {
  /** Of the rollout. */
  rule: unknown
  /** Of the device and of its groups. */
  rules: readonly unknown[] | null
  /** Of the organisation: `{zone, dates}`. */
  calendars: readonly unknown[] | null
  /** Of the rollout: `{reason, blackouts}` of one that passes windows. */
  ignore: unknown
  /** How long the release takes from the offer on, for nearly all devices that have it; null while too few have. */
  neededMs: number | null
}

/** Of the rows `rollout` and `device` of a query, as one column, so that a decision costs no read of its own. */
export function windowFacts(): RawBuilder<WindowFacts> {
  return sql<WindowFacts>`jsonb_build_object(
    'rule', rollout.install_window, 'ignore', rollout.ignore_windows, 'neededMs', rollout.needed_ms,
    'rules', ${rulesOfDevice()}, 'calendars', ${calendars()})`
}

/** Of the row `device`; null for none. */
export function rulesOfDevice(): RawBuilder<unknown[] | null> {
  return sql<unknown[] | null>`(select jsonb_agg(said.rule order by said.id) from (
    select one.id, one.rule from maintenance_window one where one.device_id = device.id
    union all
    select one.id, one.rule from device_group_member of_group
    join maintenance_window one on one.group_id = of_group.group_id
    where of_group.device_id = device.id) said)`
}

export function calendars(): RawBuilder<unknown[] | null> {
  return sql<unknown[] | null>`(select jsonb_agg(
    jsonb_build_object('zone', one.zone, 'dates', one.dates) order by one.id) from blackout_calendar one)`
}
