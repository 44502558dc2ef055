import { recordAudit } from '../audit/audit.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { DomainError } from '../errors.ts'
import { requireCovered } from '../groups/reach.ts'
import { addMembers, assertTakesMembers } from '../groups/service.ts'
import type { Reach } from '../protocol/reach.ts'
import { type DeviceDetails, findDevice, findIdBySerial, insertRegistered } from './store.ts'

export interface RegisterDevice {
  id: string
  serialNumber: string
  /** Absent: the serial number. */
  name?: string | undefined
  groupId?: string | undefined
  /** Where the caller may do this. Limited to groups, he has to say into which of them the device goes. */
  reach: Reach
  actor: string
  requestId: string
}

/**
 * Makes the record of a device that will enroll later. The same id again answers the same record; a serial number that is
 * taken is a `conflict` that names the device which has it, if the caller may see that.
 */
export async function registerDevice(
  { db, clock }: Pick<Context, 'db' | 'clock'>,
  command: RegisterDevice,
): Promise<DeviceDetails> {
  const { id, serialNumber, groupId, reach, actor, requestId } = command
  const name = command.name ?? serialNumber
  const now = clock.now()
  if (groupId !== undefined) requireCovered(groupId, reach)
  else if (reach !== 'fleet') throw saysNoGroup()
  return await inTransaction(db, async (tx) => {
    if (groupId !== undefined) await assertTakesMembers(tx, groupId)
    const isNew = await insertRegistered(tx, { id, name, serial_number: serialNumber, now })
    if (isNew) {
      if (groupId !== undefined) await addMembers(tx, groupId, [id], now)
      const facts = { serialNumber, name, groupId: groupId ?? null }
      await recordAudit(tx, {
        at: now,
        actor,
        action: 'device.register',
        subject: id,
        facts,
        requestId,
      })
    }
    const device = await findDevice(tx, id, reach)
    if (device) return device
    throw new DomainError('conflict', 'There is a device with this serial number already', {
      serialNumber,
      deviceId: await findIdBySerial(tx, serialNumber, reach),
    })
  })
}

function saysNoGroup(): DomainError {
  const message = 'Your permission is limited to groups: say into which of them the device goes'
  return new DomainError('invalid-request', message, { issues: [{ at: 'groupId', message }] })
}
