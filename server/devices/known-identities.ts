import type { Identity, Refusal, Verdict } from '../identity.ts'
import type { CertificateStatus, DeviceStatus } from './directory-store.ts'

interface KnownCertificate {
  identity: Identity
  state: CertificateStatus['state']
  notAfterMs: number
}

interface KnownDevice {
  state: DeviceStatus['device_state']
  groupDisabled: boolean
  fingerprints: Set<string>
}

/**
 * What this process remembers of certificates and devices it has met. Memory only: whoever fills it says when it is out of
 * date. Bounded: the oldest that is not in use makes room, and is asked for again when it comes back.
 */
export class KnownIdentities {
  readonly #certificates = new Map<string, KnownCertificate>()
  readonly #devices = new Map<string, KnownDevice>()
  readonly #max: number
  readonly #isInUse: (deviceId: string) => boolean

  constructor(max: number, isInUse: (deviceId: string) => boolean) {
    this.#max = max
    this.#isInUse = isInUse
  }

  verdict(fingerprint: string, now: Date): Verdict | undefined {
    const certificate = this.#certificates.get(fingerprint)
    return certificate && judge(certificate, this.#devices.get(certificate.identity.deviceId), now)
  }

  deviceAllowed(deviceId: string): boolean | undefined {
    const device = this.#devices.get(deviceId)
    return device && refusalOfDevice(device) === undefined
  }

  has(deviceId: string): boolean {
    return this.#devices.has(deviceId)
  }

  deviceIds(): IterableIterator<string> {
    return this.#devices.keys()
  }

  /** A renewed certificate that was not used yet is not remembered: its first use has something to do (directory.ts). */
  remember(row: CertificateStatus): void {
    this.setDevice(row)
    if (row.replaces_live) return
    this.#devices.get(row.device_id)?.fingerprints.add(row.fingerprint)
    this.#certificates.set(row.fingerprint, certificateIn(row))
    if (this.#certificates.size > this.#max) this.#evict()
  }

  /** Changes only what is known already. */
  update(row: CertificateStatus): void {
    if (this.#certificates.has(row.fingerprint)) this.remember(row)
  }

  setDevice({
    device_id: id,
    device_state: state,
    group_disabled: groupDisabled,
  }: DeviceStatus): void {
    const fingerprints = this.#devices.get(id)?.fingerprints ?? new Set()
    this.#devices.set(id, { state, groupDisabled, fingerprints })
  }

  forget(deviceId: string): void {
    for (const fingerprint of this.#devices.get(deviceId)?.fingerprints ?? []) {
      this.#certificates.delete(fingerprint)
    }
    this.#devices.delete(deviceId)
  }

  #evict(): void {
    // A few steps each time: those in use go to the end of the line instead of being looked at for ever.
    let steps = 0
    for (const [fingerprint, certificate] of this.#certificates) {
      if (++steps > 16) return
      const { deviceId } = certificate.identity
      if (!this.#isInUse(deviceId)) return this.forget(deviceId)
      this.#certificates.delete(fingerprint)
      this.#certificates.set(fingerprint, certificate)
    }
  }
}

/** What a row says, remembered or not. */
export function judgeRow(row: CertificateStatus, now: Date): Verdict {
  const { device_state: state, group_disabled: groupDisabled } = row
  return judge(certificateIn(row), { state, groupDisabled }, now)
}

function certificateIn(row: CertificateStatus): KnownCertificate {
  return {
    identity: { deviceId: row.device_id, certificateId: row.id, fingerprint: row.fingerprint },
    state: row.state,
    notAfterMs: row.not_after.getTime(),
  }
}

function judge(
  certificate: KnownCertificate,
  device: Pick<KnownDevice, 'state' | 'groupDisabled'> | undefined,
  now: Date,
): Verdict {
  const { identity } = certificate
  const refusal = refusalOfCertificate(certificate, now) ?? refusalOfDevice(device)
  return refusal
    ? { allowed: false, refusal, deviceId: identity.deviceId }
    : { allowed: true, identity }
}

function refusalOfCertificate(
  { state, notAfterMs }: KnownCertificate,
  now: Date,
): Refusal | undefined {
  switch (state) {
    case 'issued':
      return now.getTime() > notAfterMs ? 'certificate-expired' : undefined
    case 'superseded':
      return 'certificate-superseded'
    case 'revoked':
      return 'certificate-revoked'
    case 'held':
      return 'certificate-held'
    case 'pending':
    case 'abandoned':
      return 'unknown-certificate'
    default:
      return 'status-unknown'
  }
}

function refusalOfDevice(
  device: Pick<KnownDevice, 'state' | 'groupDisabled'> | undefined,
): Refusal | undefined {
  switch (device?.state) {
    case 'active':
      return device.groupDisabled ? 'group-disabled' : undefined
    case 'disabled':
      return 'device-disabled'
    case 'revoked':
      return 'device-revoked'
    case 'retired':
      return 'device-retired'
    case 'registered':
    case undefined:
      return 'status-unknown'
    default:
      return 'status-unknown'
  }
}
