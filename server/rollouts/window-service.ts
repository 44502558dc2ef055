import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import type { Tx } from '../db/client.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { newId } from '../ids.ts'
import { assertVersion, lockVersion, type Versions } from '../version.ts'
import { checkCalendar, checkWindow } from './window-check.ts'
import {
  type BlackoutCalendar,
  dropCalendar,
  dropWindow,
  findCalendar,
  insertCalendar,
  type MaintenanceWindow,
  ownerExists,
  putWindow,
  standingOfCalendars,
  updateCalendar,
  windowOfOwner,
  type WindowOwner,
} from './window-store.ts'
import type { CalendarBody, WindowRule } from './window-wire.ts'

type Deps = Pick<Context, 'db' | 'clock'>

interface By {
  actor: string
  requestId: string
}

interface Change extends By {
  /** Of what is changed or removed. */
  ifMatch?: Versions | undefined
}

/** Gives a device, or a group, its window, in place of the one it had. Throws `not-found`, and `invalid-request` for one that never opens. */
export async function setWindow(
  { db, clock }: Deps,
  { owner, rule, ifMatch, actor, requestId }: Change & { owner: WindowOwner; rule: WindowRule },
): Promise<MaintenanceWindow> {
  const now = clock.now()
  checkWindow(rule, now)
  return await inTransaction(db, async (tx) => {
    if (!(await ownerExists(tx, owner))) throw noOwner(owner)
    if (ifMatch) await mustBeSeen(tx, owner, ifMatch)
    const row = { id: newId(now), rule: JSON.stringify(rule), created_by: actor, now }
    const before = await windowOfOwner(tx, owner)
    const changed = await putWindow(tx, owner, row)
    if (changed) {
      const facts = { ...owner, ...rule, before: before?.rule ?? null }
      const what = { action: 'window.set', subject: changed.id, facts }
      await recordAudit(tx, { at: now, actor, requestId, ...what })
      return changed
    }
    const same = await windowOfOwner(tx, owner)
    if (!same) throw new DomainError('conflict', 'The window was removed meanwhile: repeat it')
    return same
  })
}

/** Throws `not-found` when there is none. */
export async function removeWindow(
  { db, clock }: Deps,
  { owner, ifMatch, actor, requestId }: Change & { owner: WindowOwner },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    if (ifMatch) await mustBeSeen(tx, owner, ifMatch)
    const before = await windowOfOwner(tx, owner)
    if (!before || !(await dropWindow(tx, owner))) {
      throw new DomainError('not-found', 'It has no window', { ...owner })
    }
    const facts = { ...owner, before: before.rule }
    const what = { action: 'window.remove', subject: before.id, facts }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
  })
}

async function mustBeSeen(tx: Tx, owner: WindowOwner, wanted: Versions): Promise<void> {
  const present = await windowOfOwner(tx, owner)
  if (!present) assertVersion(undefined, wanted)
  else await lockVersion(tx, { table: 'maintenance_window', id: present.id }, wanted)
}

function noOwner(owner: WindowOwner): DomainError {
  const what = 'deviceId' in owner ? 'device' : 'group'
  return new DomainError('not-found', `No such ${what}`, { ...owner })
}

/** Everything that is in force is read with every decision about a device. */
const maxCalendars = 20

/** Safe to repeat with the same id. Throws `conflict` for a name that is taken, or one calendar too many. */
export async function createCalendar(
  { db, clock }: Deps,
  { id, body, actor, requestId }: By & { id: string; body: CalendarBody },
): Promise<BlackoutCalendar> {
  const now = clock.now()
  checkCalendar(body)
  return await inTransaction(db, async (tx) => {
    await checkRoom(tx, id, body.name)
    const { name, zone, dates } = body
    const row = { id, name, zone, dates: JSON.stringify(dates), created_by: actor }
    if (await insertCalendar(tx, { ...row, created_at: now, changed_at: now })) {
      const what = { action: 'blackout.create', subject: id, facts: { ...body } }
      await recordAudit(tx, { at: now, actor, requestId, ...what })
    }
    return await mustFind(tx, id)
  })
}

/** Puts other days, or another name, in place of what a calendar had. */
export async function changeCalendar(
  { db, clock }: Deps,
  { id, body, ifMatch, actor, requestId }: Change & { id: string; body: CalendarBody },
): Promise<BlackoutCalendar> {
  const now = clock.now()
  checkCalendar(body)
  return await inTransaction(db, async (tx) => {
    await lockVersion(tx, { table: 'blackout_calendar', id }, ifMatch)
    const found = await mustFind(tx, id)
    const before = { name: found.name, zone: found.zone, dates: found.dates }
    await checkRoom(tx, id, body.name)
    const { name, zone, dates } = body
    const changed = await updateCalendar(tx, id, { name, zone, dates: JSON.stringify(dates), now })
    if (changed) {
      const what = { action: 'blackout.change', subject: id, facts: { ...body, before } }
      await recordAudit(tx, { at: now, actor, requestId, ...what })
    }
    return await mustFind(tx, id)
  })
}

export async function removeCalendar(
  { db, clock }: Deps,
  { id, ifMatch, actor, requestId }: Change & { id: string },
): Promise<void> {
  const now = clock.now()
  await inTransaction(db, async (tx) => {
    await lockVersion(tx, { table: 'blackout_calendar', id }, ifMatch)
    const gone = await dropCalendar(tx, id)
    if (!gone) throw noCalendar(id)
    const { name, zone, dates } = gone
    const what = { action: 'blackout.remove', subject: id, facts: { name, zone, dates } }
    await recordAudit(tx, { at: now, actor, requestId, ...what })
  })
}

async function checkRoom(tx: Tx, id: string, name: string): Promise<void> {
  const { others, taken } = await standingOfCalendars(tx, name, id)
  if (taken) throw new DomainError('conflict', `There is a calendar ${name} already`, { name })
  if (others >= maxCalendars) {
    const message = `There are ${maxCalendars} calendars already: put the days into one of them`
    throw new DomainError('conflict', message, { limit: maxCalendars })
  }
}

async function mustFind(tx: Tx, id: string): Promise<BlackoutCalendar> {
  const found = await findCalendar(tx, id)
  if (!found) throw noCalendar(id)
  return found
}

function noCalendar(id: string): DomainError {
  return new DomainError('not-found', 'No such calendar', { blackoutId: id })
}
