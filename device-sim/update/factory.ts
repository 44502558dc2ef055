import { createHash } from 'node:crypto'

import type { DeviceConfig } from '../config.ts'
import type { Disk } from '../disk.ts'
import { factorySettings } from './settings.ts'
import { findBootRecord, imageFile, type SlotInfo, writeBootRecord } from './slots.ts'

/**
 * What the maker puts in slot `a` of each component, once: a device that has a boot record is left as it is. Both copies of
 * the record are written, so that from the start one is whole whatever happens to the other.
 */
export async function installFactoryImages(
  disk: Disk,
  components: DeviceConfig['components'],
  images: Record<string, Buffer>,
): Promise<void> {
  for (const [component, { version, build, svn }] of Object.entries(components)) {
    if (await findBootRecord(disk, component)) continue
    const image =
      images[component] ??
      factorySettings[component] ??
      Buffer.from(`factory image of ${component} ${version}, build ${build}\n`)
    const name = imageFile(component, 'a')
    await disk.write(name, image)
    await disk.fsync(name)
    await disk.fsyncDir()
    const info: SlotInfo = {
      sha256: createHash('sha256').update(image).digest('hex'),
      length: image.length,
      version,
      build,
      svn,
      bootable: true,
      successful: true,
      tries: 0,
    }
    const first = { sequence: 0, active: 'a' as const, slots: { a: info } }
    await writeBootRecord(disk, component, await writeBootRecord(disk, component, first))
    await disk.fsyncDir()
  }
}
