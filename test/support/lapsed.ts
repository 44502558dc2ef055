import type { KeyObject } from 'node:crypto'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import { completeIntent, newIntent, saveIntent } from '../../server/certificates/intent.ts'
import { inTransaction } from '../../server/db/transaction.ts'
import { newId } from '../../server/ids.ts'
import type { Enrolled, IdentityWorld } from './identity-world.ts'

const dayMs = 86_400_000

/** A device whose one certificate has really ended: issued by the pipeline at an earlier time, for 90 days. */
export async function givenLapsedDevice(
  { ctx, givenDevice }: IdentityWorld,
  { profile, endedDaysAgo }: { profile: { id: string }; endedDaysAgo: number },
): Promise<Enrolled> {
  const device = await givenDevice({ profile })
  const key: KeyObject = generatePrivateKey('P-256')
  const at = new Date(ctx.clock.now().getTime() - (90 + endedDaysAgo) * dayMs)
  const intent = newIntent({
    id: newId(at),
    issuer: ctx.authorities.devices,
    urls: ctx.authorities.urls,
    profile: 'device',
    deviceId: device.deviceId,
    subject: parseCertificate(device.der).subject,
    spki: spkiOf(key),
    san: [deviceIdentity(device.deviceId)],
    days: 90,
    now: at,
  })
  await inTransaction(ctx.db, (tx) => saveIntent(tx, intent))
  const { der, id: certificateId } = await completeIntent(ctx, intent, { onIssued: async () => {} })
  if (!der) throw new Error('not issued')
  await ctx.db
    .updateTable('certificate')
    .set({ state: 'superseded' })
    .where('id', '=', device.certificateId)
    .execute()
  return { ...device, key, der, certificateId, fingerprint: fingerprint(der) }
}

/** Puts other bytes in the place of a certificate we issued, as somebody who writes to the database could. */
export async function plant({ ctx }: IdentityWorld, certificateId: string, der: Buffer) {
  await ctx.db
    .updateTable('certificate')
    .set({ der, fingerprint: fingerprint(der) })
    .where('id', '=', certificateId)
    .execute()
}
