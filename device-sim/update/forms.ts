import { decodeEnvelope } from '../../pki/tuf/envelope.ts'
import { MetadataError } from '../../pki/tuf/errors.ts'
import { readDirectorTargets } from '../../pki/tuf/read.ts'
import type { DeliveryEntry } from '../../pki/tuf/types.ts'
import { maxDeltaIndexBytes } from '../../server/protocol/delta-z1.ts'
import type { Device } from './device.ts'
import type { Part } from './journal.ts'
import { imageFile, partFile, type SlotName } from './slots.ts'
import type { Form, Wanted } from './transfer.ts'

const maxFileBytes = 65_536
const maxForms = 16

/**
 * What is to be fetched for one image, with the ways that the director named and this device can use, best first. They are
 * taken from its verified targets file; a form is only a shorter way, the image's own hash is what counts.
 */
export function wantedOf(device: Device, { target }: Part, slot: SlotName): Wanted {
  const { component, sha256, length, path } = target
  const wanted = { sha256, length, part: partFile(component, slot) }
  const { slot: running, record } = device.running(component)
  const installed = record.slots[running]
  if (!installed || running === slot) return wanted
  const base = {
    file: imageFile(component, running),
    sha256: installed.sha256,
    length: installed.length,
  }
  const named = namedFor(device.trusted.director.targets, { path, sha256 })
  const forms = named.flatMap((entry) => usable(entry, { wanted, base }) ?? [])
  return { ...wanted, forms }
}

function namedFor(
  text: string | undefined,
  { path, sha256 }: { path: string; sha256: string },
): DeliveryEntry[] {
  if (text === undefined) return []
  try {
    const { signed } = decodeEnvelope(Buffer.from(text), maxFileBytes)
    const { targets } = readDirectorTargets(signed)
    const target = Object.hasOwn(targets, path) ? targets[path] : undefined
    if (target?.hashes['sha256'] !== sha256) return []
    return target.custom.delivery.slice(0, maxForms)
  } catch (error) {
    // Not a form of targets that this code reads: the image itself can still be fetched.
    if (error instanceof MetadataError) return []
    throw error
  }
}

/** Nothing longer than the image: the director could make a device fetch without end. */
function usable(
  { m, length, sha256, base: needs, index }: DeliveryEntry,
  { wanted, base }: { wanted: Wanted; base: NonNullable<Form['base']> },
): Form | undefined {
  if (length >= wanted.length) return undefined
  switch (m) {
    case 'zstd':
      return { method: 'zstd', sha256, length }
    case 'delta-z1':
      return needs === base.sha256 && index && index.length <= Math.min(length, maxDeltaIndexBytes)
        ? { method: 'delta-z1', sha256, length, base, index }
        : undefined
    default:
      return undefined
  }
}
