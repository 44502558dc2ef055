import { newTrustedState } from '../pki/tuf/bundle.ts'
import { fingerprint } from '../pki/x509/parse.ts'
import { systemClock, type DeviceClock } from './clock.ts'
import { type DeviceConfigInput, findConfig, parseConfig, saveConfig } from './config.ts'
import { FileDisk, type Disk } from './disk.ts'
import { DeviceError } from './errors.ts'
import { type EstServer, fetchCaCertificates, simpleEnroll, simpleReenroll } from './est.ts'
import {
  findIdentity,
  followServerRoots,
  forgetRequest,
  loadServerRoot,
  pendingRequest,
  saveIdentity,
  saveServerRoot,
  type Identity,
} from './identity.ts'
import { planRenewal, savePlan } from './renewal-plan.ts'
import { checkRoots } from './trust-roots.ts'
import { installFactoryImages } from './update/factory.ts'
import { findTrusted, saveTrusted } from './update/trusted.ts'

export interface Enrollment {
  /** The state directory; made with mode 0700. */
  dir: string
  config: DeviceConfigInput
  /** PEM of the server's root, `data/ca/root.pem`. */
  root: string
  /** Exact texts of root 1 of both repositories, what a maker bakes into the firmware (updates.md 3.3). */
  imageRoot: string
  directorRoot: string
  profile: string
  token: string
  /** What runs before the first update, by component; a small text when absent. */
  images?: Record<string, Buffer>
  clock?: DeviceClock
}

const firstRequest = 'request.pem'
const renewalRequest = 'renewal.pem'

/**
 * Makes a device and gets its first certificate. May be run again after any failure: it goes on where it stopped, with
 * the same key and request, so the server answers with the same certificate. Returns the device id.
 *
 * @throws DeviceError `already-enrolled`, `config`, `identity`, `est`, `pending`, `offline`
 */
export async function enrollDevice(enrollment: Enrollment): Promise<string> {
  const { dir, root, imageRoot, directorRoot, profile, token } = enrollment
  const config = parseConfig(enrollment.config)
  const disk = await FileDisk.open(dir)
  const done = (await findConfig(disk)) && (await findIdentity(disk))
  if (done) {
    throw new DeviceError(
      'already-enrolled',
      `${dir} is device ${done.deviceId} already`,
      'Run: npm run device -- run',
    )
  }
  const trusted = await findTrusted(disk)
  const wanted = trusted ?? newTrustedState({ director: directorRoot, image: imageRoot })
  checkRoots(wanted, config)
  await saveServerRoot(disk, root)
  if (!trusted) await saveTrusted(disk, undefined, wanted)
  await installFactoryImages(disk, config.components, enrollment.images ?? {})
  // Last of what the maker does: with it the directory is a device.
  await saveConfig(disk, config)
  const { key, csr } = await pendingRequest(disk, {
    file: firstRequest,
    serialNumber: config.serialNumber,
    algorithm: config.keyAlgorithm,
  })
  const server = {
    host: config.serverHost,
    port: config.devicePort,
    root: await loadServerRoot(disk),
  }
  const { certificate: issued, renewAt } = await simpleEnroll(server, { csr, profile, token })
  const issuers = await fetchCaCertificates(server)
  const at = (enrollment.clock ?? systemClock).now()
  await saveIdentity(disk, { key, issued, issuers, at })
  await forgetRequest(disk, firstRequest)
  const identity = await findIdentity(disk)
  if (identity) await saveHint(disk, identity, { hintAt: renewAt, now: at })
  if (!identity) throw new DeviceError('damaged', 'The identity was not stored', 'Check the disk')
  return identity.deviceId
}

async function saveHint(
  disk: Disk,
  { leaf }: Identity,
  { hintAt, now }: { hintAt: Date | undefined; now: Date },
): Promise<void> {
  const { der, notBefore, notAfter } = leaf
  const certificate = { fingerprint: fingerprint(der), notBefore, notAfter }
  await savePlan(disk, planRenewal(certificate, { hintAt, now, random: Math.random() }))
}

/**
 * Gets the next certificate, with a new key; goes on where an earlier try stopped. `renewAt` is the server's hint for the one after it.
 *
 * @throws DeviceError
 */
export async function renewIdentity(
  disk: Disk,
  {
    identity,
    server,
    at,
  }: { identity: Identity; server: Omit<EstServer, 'client' | 'root'>; at: Date },
): Promise<{ identity: Identity; renewAt: Date | undefined }> {
  const { key, certificates, root, leaf } = identity
  const pending = await pendingRequest(disk, {
    file: renewalRequest,
    serialNumber: '',
    renews: leaf,
  })
  const est: EstServer = { ...server, root, client: { key, certificates } }
  const { certificate: issued, renewAt } = await simpleReenroll(est, pending.csr)
  const issuers = await fetchCaCertificates(est)
  // Before the certificate: it may be one below the new root already.
  await followServerRoots(disk, issuers, at)
  await saveIdentity(disk, { key: pending.key, issued, issuers, at, deviceId: identity.deviceId })
  await forgetRequest(disk, renewalRequest)
  return { identity: (await findIdentity(disk)) ?? identity, renewAt }
}
