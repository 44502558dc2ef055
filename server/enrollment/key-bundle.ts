import { createHash, type KeyObject, randomInt } from 'node:crypto'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { buildPkcs12 } from '../../pki/pkcs12/build.ts'
import { deviceIdentity } from '../../pki/x509/profiles.ts'
import { recordAudit } from '../audit/audit.ts'
import { type CertificateRow, newIntent, saveIntent } from '../certificates/intent.ts'
import { assertNotTooOften, findRequested, giveUpOlderIntents } from '../certificates/service.ts'
import { inTransaction } from '../db/transaction.ts'
import { type LockedDevice, lockDevice } from '../devices/lifecycle.ts'
import { DomainError } from '../errors.ts'
import { assertNotCutOff } from '../incidents/cut-off.ts'
import { type IssueDeps, issueToDevice } from './issue.ts'
import { lockIssuedCertificates } from './replace-store.ts'
import { subjectFor } from './request.ts'
import { findProfile, giveBack, type Profile } from './store.ts'
import type { KeyBundleBody } from './wire.ts'

export interface NewKeyBundle {
  /** Becomes the certificate's. */
  id: string
  deviceId: string
  body: KeyBundleBody
  actor: string
  requestId: string
}

export interface KeyBundle {
  certificateId: string
  notAfter: Date
  /** DER */
  pkcs12: Buffer
  passphrase: string
}

const defaultDays = 90
/** Without those that people mistake for each other. 20 of 32 letters: 100 bits. */
const letters = 'abcdefghijkmnpqrstuvwxyz23456789'

/**
 * A key and certificate for a device that cannot make a key, as PKCS #12. Key and passphrase are stored nowhere and returned
 * once: what was lost is made anew, and with the first use of the new certificate the one before ends.
 *
 * @throws DomainError `not-found`, `not-allowed`, `rate-limited`, `busy`; `conflict` when the same call was answered before
 */
export async function createKeyBundle(ctx: IssueDeps, command: NewKeyBundle): Promise<KeyBundle> {
  const key = generatePrivateKey(command.body.keyAlgorithm)
  const { intent, device } = await admit(ctx, command, key)
  const certificate = await issueToDevice(ctx, intent)
  const passphrase = newPassphrase()
  const issuer = ctx.authorities.find(intent.authority_id) ?? ctx.authorities.devices
  const pkcs12 = await buildPkcs12({
    privateKey: key,
    certificate,
    chain: [issuer.der, ctx.authorities.root.der],
    passphrase,
    friendlyName: device.serial_number,
  })
  return { certificateId: intent.id, notAfter: intent.not_after, pkcs12, passphrase }
}

async function admit(
  ctx: IssueDeps,
  { id, deviceId, body, actor, requestId }: NewKeyBundle,
  key: KeyObject,
): Promise<{ intent: CertificateRow; device: LockedDevice }> {
  const now = ctx.clock.now()
  return await inTransaction(ctx.db, async (tx) => {
    const device = await lockDevice(tx, { id: deviceId })
    if (!device) throw new DomainError('not-found', 'No such device', { deviceId })
    if (device.state !== 'registered' && device.state !== 'active') {
      throw new DomainError('not-allowed', `A device that is ${device.state} gets no certificate`)
    }
    await assertNotCutOff(tx, device.id)
    const requestKey = createHash('sha256').update(`key-bundle\n${id}`).digest()
    if (await findRequested(tx, requestKey)) {
      throw new DomainError(
        'conflict',
        'This bundle was made already, and is shown once: make another one if it was lost',
      )
    }
    const profileId = device.enrollment_profile_id
    const profile = profileId === null ? undefined : await findProfile(tx, { id: profileId })
    assertAllowed(profile, body)
    await assertNotTooOften(tx, device.id, now)
    for (const left of await giveUpOlderIntents(tx, device.id, now)) {
      if (left.enrollment_token_id) await giveBack(tx, left.enrollment_token_id)
    }
    // The oldest: what was issued after it replaces it too, and ends when another such one is issued.
    const [replaced] = await lockIssuedCertificates(tx, device.id)
    const intent = newIntent({
      id,
      issuer: ctx.authorities.deviceIssuer(profile?.issuer_series ?? null),
      urls: ctx.authorities.urls,
      profile: 'device',
      deviceId: device.id,
      requestKey,
      ...(replaced ? { replacesId: replaced.id } : {}),
      subject: subjectFor(device),
      spki: spkiOf(key),
      san: [deviceIdentity(device.id)],
      days: profile?.certificate_days ?? defaultDays,
      now,
    })
    await saveIntent(tx, intent)
    await recordAudit(tx, {
      at: now,
      actor,
      action: 'key-bundle.create',
      subject: device.id,
      facts: { certificateId: id, keyAlgorithm: body.keyAlgorithm },
      requestId,
    })
    return { intent, device }
  })
}

function assertAllowed(profile: Profile | undefined, { keyAlgorithm }: KeyBundleBody): void {
  if (!profile || profile.key_policy.includes(keyAlgorithm)) return
  throw new DomainError(
    'not-allowed',
    `A key of the kind ${keyAlgorithm} is not allowed here: use ${profile.key_policy.join(', ')}`,
  )
}

function newPassphrase(): string {
  const words = Array.from({ length: 5 }, () =>
    Array.from({ length: 4 }, () => letters[randomInt(letters.length)] ?? '').join(''),
  )
  return words.join('-')
}
