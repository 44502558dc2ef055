import {
  ConfigError,
  type ConfigSchema,
  maxConfigBytes,
  readConfigSchema,
  readSettings,
  type Setting,
  settingsProblems,
} from '../../pki/config-schema.ts'
import type { Device } from './device.ts'
import { partsOf, type Task } from './journal.ts'
import { imageFile, otherSlot, type SlotName } from './slots.ts'

/*
 * A device that can be configured has three components more (updates.md 2.3, 2.4): `config`, what the maker signed for the fleet;
 * `overrides`, its own, which the director alone signs; and `cfgschema`, what the maker allows in the latter. Each has its two
 * slots, so a change is kept, tried and taken back like an image, only without a restart.
 */
export const settingsComponents = ['config', 'overrides', 'cfgschema'] as const

export function isSettings(component: string): boolean {
  return (settingsComponents as readonly string[]).includes(component)
}

/** What the maker installs there at first: no settings, and a schema that allows none. */
export const factorySettings: Record<string, Buffer> = {
  config: Buffer.from('{}'),
  overrides: Buffer.from('{}'),
  cfgschema: Buffer.from('{"type":"object","properties":{}}'),
}

/** What a task's settings may not say, in words; undefined when all is well, and for images. */
export async function settingsProblem(device: Device, task: Task): Promise<string | undefined> {
  const parts = partsOf(task)
  const slots = new Map(
    parts.map(({ target: { component }, slot }) => [
      component,
      slot ?? otherSlot(device.running(component).slot),
    ]),
  )
  try {
    for (const { target } of parts) {
      const problem = await problemOf(device, target.component, slots)
      if (problem !== undefined) return problem
    }
    return undefined
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
}

async function problemOf(
  device: Device,
  component: string,
  slots: ReadonlyMap<string, SlotName>,
): Promise<string | undefined> {
  if (!isSettings(component)) return undefined
  const bytes = await bytesOf(device, component, slots)
  switch (component) {
    case 'cfgschema':
      readConfigSchema(bytes)
      return undefined
    case 'config':
      readSettings(bytes, { isExact: false })
      return undefined
    default: {
      const settings = readSettings(bytes, { isExact: true })
      const schema = await schemaOf(device, slots)
      return settingsProblems(schema, settings)[0]
    }
  }
}

/** The one that comes along, or else the one that is there. */
async function schemaOf(
  device: Device,
  slots: ReadonlyMap<string, SlotName>,
): Promise<ConfigSchema> {
  if (!device.config.components['cfgschema']) throw new ConfigError('This device has no schema')
  return readConfigSchema(await bytesOf(device, 'cfgschema', slots))
}

async function bytesOf(
  device: Device,
  component: string,
  slots: ReadonlyMap<string, SlotName>,
): Promise<Buffer> {
  const { disk } = device
  const slot = slots.get(component) ?? device.running(component).slot
  const name = imageFile(component, slot)
  const size = (await disk.size(name)) ?? 0
  if (size > maxConfigBytes) throw new ConfigError(`Settings are at most ${maxConfigBytes} bytes`)
  return (await disk.read(name, maxConfigBytes)) ?? Buffer.alloc(0)
}

/** What holds now: the fleet's settings, and over them the device's own. Empty for a device that has none. */
export async function currentSettings(device: Device): Promise<Record<string, Setting>> {
  const layers = ['config', 'overrides'].filter((name) =>
    Object.hasOwn(device.config.components, name),
  )
  const read = await Promise.all(
    layers.map(async (name) =>
      readSettings(await bytesOf(device, name, new Map()), { isExact: false }),
    ),
  )
  return Object.fromEntries(read.flatMap((settings) => Object.entries(settings)))
}
