import { zstdDecompressSync } from 'node:zlib'

import { parseBundle } from '../../pki/tuf/bundle.ts'
import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { type AttackCode, MetadataError, VerificationError } from '../../pki/tuf/errors.ts'
import { verifyConstrained } from '../../pki/tuf/profile-p.ts'
import { isRootsOnly, takeRoots } from '../../pki/tuf/roots.ts'
import { isObject } from '../../pki/tuf/shape.ts'
import type { Bundle, TrustedState, VerifiedBundle } from '../../pki/tuf/types.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import type { Device } from './device.ts'
import { checkLog } from './seen-log.ts'
import { saveTrusted } from './trusted.ts'

export interface RefusedBundle {
  code: AttackCode
  detail: string
  /** Of a deployment that this very bundle asked for with the director's signature. */
  deploymentId?: string
}

export type BundleVerdict =
  | { ok: true; verified: VerifiedBundle }
  /** Roots alone: the server is to be asked again, for the rest. */
  | { ok: true; verified: undefined }
  | ({ ok: false } & RefusedBundle)

const maxFileBytes = 65_536
const zstdMagic = 0x28

/**
 * Steps 0 to 8 of updates.md section 4 with the device's own state, which is stored before anything is done with the
 * result. What had been verified before a refusal is stored too, so a later honest bundle goes on from there.
 *
 * @param bytes of the `bundle` message, plain or zstd
 * @param questions the nonces of this device's hellos: those that wait for an answer, newest last, and those that need none any more
 * @returns `late` for what claims to answer one of the latter, or nothing: it is left unread
 */
export async function takeBundle(
  device: Device,
  bytes: Buffer,
  { nonces, past }: { nonces: readonly string[]; past: readonly string[] },
): Promise<(BundleVerdict & { nonce?: string }) | 'late'> {
  const before = device.trusted
  try {
    const message = unpack(bytes)
    const bundle = parseBundle(message)
    if (isRootsOnly(bundle)) return await walk(device, bundle)
    const claimed = claimedNonce(bundle)
    // A server tells who only listens without being asked; this device asks, and waits for the answer to that.
    if (claimed === 'none' || (claimed !== undefined && past.includes(claimed))) return 'late'
    const nonce = nonces.find((one) => one === claimed) ?? nonces.at(-1) ?? 'none'
    try {
      const verified = verify(device, bundle, nonce)
      const seen = checkLog(device.seenLog, verified, message)
      await keep(device, verified.state)
      await device.sawLog(seen)
      device.time.hear(verified.time)
      return { ok: true, verified, nonce }
    } catch (error) {
      if (!(error instanceof VerificationError)) throw error
      const state = error.state ?? before
      await keep(device, state)
      // What the log does not show yet it may show with the next answer: no deployment ends by that.
      const deploymentId =
        error.code === 'log' ? undefined : deploymentOf({ bundle, before, state })
      return { ...refusal(error), ...(deploymentId !== undefined && { deploymentId }) }
    }
  } catch (error) {
    if (error instanceof VerificationError) return refusal(error)
    throw error
  }
}

async function walk(device: Device, bundle: Bundle): Promise<BundleVerdict> {
  try {
    await keep(device, takeRoots(device.trusted, bundle, device.facts()))
    return { ok: true, verified: undefined }
  } catch (error) {
    if (!(error instanceof VerificationError)) throw error
    await keep(device, error.state ?? device.trusted)
    return refusal(error)
  }
}

function verify(device: Device, bundle: Bundle, nonce: string): VerifiedBundle {
  const { profile, pins } = device.config
  const facts = device.facts()
  if (profile === 'full') return verifyBundle(device.trusted, bundle, facts, { nonce })
  if (!pins) throw new VerificationError('arbitrary', 'This device was made without pinned keys')
  return verifyConstrained(device.trusted, bundle, { ...facts, pins }, { nonce })
}

function refusal({ code, message }: VerificationError): { ok: false } & RefusedBundle {
  return { ok: false, code, detail: message }
}

async function keep(device: Device, state: TrustedState): Promise<void> {
  await saveTrusted(device.disk, device.trusted, state)
  device.trusted = state
}

/** updates.md 2.6: the first byte tells. The cap holds for what comes out. */
function unpack(bytes: Buffer): Buffer {
  if (bytes[0] !== zstdMagic) return bytes
  try {
    return zstdDecompressSync(bytes, { maxOutputLength: maxFileBytes })
  } catch (cause) {
    throw new VerificationError('endless-data', 'The bundle does not decompress within its cap', {
      cause,
    })
  }
}

/**
 * Which question this claims to answer, `none` when it says that it answers none, undefined when it cannot be read. It is only a claim:
 * the verifier compares it with the signed bytes; what answers another question is held against the newest one and so refused.
 */
function claimedNonce({ director }: Bundle): string | undefined {
  const timestamp = signedPart(director['timestamp.json'])
  if (timestamp && !('x-nonce' in timestamp)) return 'none'
  const claimed = timestamp?.['x-nonce']
  return typeof claimed === 'string' ? claimed : undefined
}

/**
 * The deployment to report as refused: only when the director's own files of this bundle had all been verified, which
 * shows in the time having moved on (step 5); or else a forged bundle could fail an honest deployment.
 */
function deploymentOf({
  bundle,
  before,
  state,
}: {
  bundle: Bundle
  before: TrustedState
  state: TrustedState
}): string | undefined {
  const timestamp = bundle.director['timestamp.json']
  const isDirectorVerified =
    timestamp !== undefined &&
    state.director.timestamp === timestamp &&
    state.timeAt !== before.timeAt
  const deployment = isDirectorVerified
    ? signedPart(state.director.targets)?.['x-deployment']
    : undefined
  return typeof deployment === 'string' ? deployment : undefined
}

function signedPart(text: string | undefined): Record<string, unknown> | undefined {
  try {
    const { signed } = decodeEnvelope(Buffer.from(text ?? ''), maxFileBytes)
    return isObject(signed) ? signed : undefined
  } catch (error) {
    if (error instanceof MetadataError) return undefined
    throw error
  }
}
