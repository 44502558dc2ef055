import { type RawBuilder, type SqlBool, sql } from 'kysely'

import { groupCovered, groupKnown } from '../db/reach.ts'
import type { Reach } from '../protocol/reach.ts'
import {
  boundOf,
  type DeviceQuery,
  type Field,
  type Literal,
  type Order,
  type Test,
} from './query.ts'

type Condition = RawBuilder<SqlBool>

/**
 * The query as a condition on the table `device`, with every value as a parameter. What is missing makes a comparison null or
 * false, which `and` and `or` treat alike; a negated one is `is not true`. Groups and profiles that are outside `reach` are as if they were
 * not there: whoever asks learns nothing of them.
 */
export function matchingSql(query: DeviceQuery, now: Date, reach: Reach): Condition {
  switch (query.kind) {
    case 'all':
    case 'any': {
      const terms = query.terms.map((term) => matchingSql(term, now, reach))
      return sql<SqlBool>`(${sql.join(terms, query.kind === 'all' ? sql` and ` : sql` or `)})`
    }
    case 'compare': {
      const condition = conditionOf(query.field, query.test, now, reach)
      return query.negated
        ? sql<SqlBool>`((${condition}) is not true)`
        : sql<SqlBool>`(${condition})`
    }
  }
}

const columns = {
  id: sql`device.id`,
  name: sql`device.name`,
  serialNumber: sql`device.serial_number`,
  model: sql`device.model`,
  state: sql`device.state`,
  agent: sql`device.agent`,
}

function conditionOf(field: Field, test: Test, now: Date, reach: Reach): Condition {
  switch (field.type) {
    case 'text':
      if (field.name === 'enrollmentProfile') return onText(profileName(reach), test)
      return field.name === 'id' && test.op === 'in'
        ? sql<SqlBool>`device.id = any(${test.values}::uuid[])`
        : onText(columns[field.name], test)
    case 'flag':
      return flags[field.name]
    case 'instant':
      return onInstant(field.name, test, now)
    case 'set':
      return field.name === 'group'
        ? sql<SqlBool>`exists (select from device_group_member member
            join device_group named on named.id = member.group_id
            where member.device_id = device.id and ${onText(sql`named.name`, test)}
              and ${groupKnown('named.id', reach)})`
        : onHardwareIds(test)
    case 'attribute':
      return onAttribute(field.key, test)
    case 'version':
    case 'number':
      return onInstalled(field, test)
  }
}

function profileName(reach: Reach): RawBuilder<unknown> {
  return sql`(select profile.name from enrollment_profile profile
    where profile.id = device.enrollment_profile_id and ${groupCovered('profile.group_id', reach)})`
}

const flags = {
  connected: sql<SqlBool>`exists (select from device_presence presence
    where presence.device_id = device.id and presence.connected)`,
  updateOptOut: sql<SqlBool>`device.update_opt_out`,
  managed: sql<SqlBool>`device.managed`,
}

function onText(column: RawBuilder<unknown>, test: Test): Condition {
  switch (test.op) {
    case 'in':
      return sql<SqlBool>`${column} = any(${test.values}::text[])`
    case 'like':
      return sql<SqlBool>`${column} like ${likePattern(test.pieces)}`
    case 'exists':
      return sql<SqlBool>`${column} is not null`
    case 'order':
    case 'instant':
      return never()
  }
}

function onInstant(
  name: 'lastSeen' | 'created' | 'certificate.expires',
  test: Test,
  now: Date,
): Condition {
  const compare = (column: RawBuilder<unknown>): Condition => {
    if (test.op === 'exists') return sql<SqlBool>`${column} is not null`
    if (test.op !== 'instant') return never()
    const { order, at } = boundOf(name, test, now)
    return sql<SqlBool>`${column} ${sign(order)} ${at}::timestamptz`
  }
  switch (name) {
    case 'created':
      return compare(sql`device.created_at`)
    case 'lastSeen':
      return sql<SqlBool>`exists (select from device_presence presence
        where presence.device_id = device.id and ${compare(sql`presence.last_seen_at`)})`
    case 'certificate.expires':
      return sql<SqlBool>`exists (select from certificate held
        where held.device_id = device.id and held.kind = 'device' and held.state = 'issued'
          and ${compare(sql`held.not_after`)})`
  }
}

function onHardwareIds(test: Test): Condition {
  switch (test.op) {
    case 'in':
      return sql<SqlBool>`device.hardware_ids && ${test.values}::text[]`
    case 'exists':
      return sql<SqlBool>`cardinality(device.hardware_ids) > 0`
    case 'like':
      return sql<SqlBool>`exists (select from unnest(device.hardware_ids) one(id)
        where one.id like ${likePattern(test.pieces)})`
    case 'order':
    case 'instant':
      return never()
  }
}

function onAttribute(key: string, test: Test): Condition {
  const value = sql`(device.attributes -> ${key}::text)`
  const text = sql`(device.attributes ->> ${key}::text)`
  switch (test.op) {
    case 'in':
      return oneOf(test.values, (wanted) => contains(sql`device.attributes`, { [key]: wanted }))
    case 'like':
      return sql<SqlBool>`jsonb_typeof(${value}) = 'string' and ${text} like ${likePattern(test.pieces)}`
    case 'order':
      return sql<SqlBool>`case when jsonb_typeof(${value}) = 'number'
        then ${text}::float8 ${sign(test.order)} ${test.value}::float8 else false end`
    case 'exists':
      return sql<SqlBool>`${value} is not null`
    case 'instant':
      return never()
  }
}

function onInstalled(
  field:
    | { type: 'version'; component: string }
    | { type: 'number'; component: string; of: 'build' | 'svn' },
  test: Test,
): Condition {
  const { component } = field
  const name = field.type === 'version' ? 'version' : field.of
  if (test.op === 'in') {
    return oneOf(test.values, (wanted) =>
      contains(sql`device.installed`, [{ component, [name]: wanted }]),
    )
  }
  if (test.op === 'exists') return contains(sql`device.installed`, [{ component }])
  const holds = onRunning(field.type, name, test)
  // The first half is what an index answers.
  return sql<SqlBool>`${contains(sql`device.installed`, [{ component }])} and exists (
    select from jsonb_to_recordset(device.installed) runs(component text, version text, build bigint, svn bigint)
    where runs.component = ${component} and ${holds})`
}

function onRunning(
  type: 'version' | 'number',
  name: 'version' | 'build' | 'svn',
  test: Test,
): Condition {
  const column = sql.ref(`runs.${name}`)
  if (test.op === 'like') return sql<SqlBool>`${column} like ${likePattern(test.pieces)}`
  if (test.op !== 'order') return never()
  return type === 'version'
    ? sql<SqlBool>`version_key(${column}) ${sign(test.order)} version_key(${test.value}::text)`
    : sql<SqlBool>`${column} ${sign(test.order)} ${test.value}::bigint`
}

function oneOf(values: readonly Literal[], one: (value: Literal) => Condition): Condition {
  return sql<SqlBool>`(${sql.join(values.map(one), sql` or `)})`
}

function contains(column: RawBuilder<unknown>, part: unknown): Condition {
  return sql<SqlBool>`${column} @> ${JSON.stringify(part)}::jsonb`
}

function sign(order: Order): RawBuilder<unknown> {
  switch (order) {
    case '<':
      return sql`<`
    case '<=':
      return sql`<=`
    case '>':
      return sql`>`
    case '>=':
      return sql`>=`
  }
}

function likePattern(pieces: readonly string[]): string {
  return pieces.map((piece) => piece.replaceAll(/[\\%_]/g, String.raw`\$&`)).join('%')
}

/** The parser never puts these together. */
function never(): Condition {
  throw new TypeError('A device query compares a field in a way that it has not')
}
