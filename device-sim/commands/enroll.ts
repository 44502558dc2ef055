import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'

import { DeviceConfig, type DeviceConfigInput } from '../config.ts'
import { type Enrollment, enrollDevice } from '../enroll.ts'
import { DeviceError, messageOf } from '../errors.ts'
import { pinsOf } from '../pins.ts'

export const enrollOptions = {
  dir: { type: 'string' },
  server: { type: 'string' },
  'device-port': { type: 'string' },
  'mqtt-port': { type: 'string' },
  ca: { type: 'string' },
  'image-root': { type: 'string' },
  'director-root': { type: 'string' },
  profile: { type: 'string' },
  token: { type: 'string' },
  'token-file': { type: 'string' },
  model: { type: 'string' },
  'hardware-id': { type: 'string', multiple: true },
  component: { type: 'string', multiple: true },
  image: { type: 'string', multiple: true },
  serial: { type: 'string' },
  'key-algorithm': { type: 'string' },
  delivery: { type: 'string' },
  'allow-evaluation': { type: 'boolean' },
  managed: { type: 'boolean' },
  constrained: { type: 'boolean' },
  'release-keys': { type: 'string' },
} as const

export const enrollHelp = `enroll: makes a device and gets its first certificate; may be run again after a failure

  --dir DIR                 where the device keeps everything (required)
  --ca FILE                 the server's root certificate, data/ca/root.pem (required)
  --image-root FILE         root 1 of the image repository, from "fleetseal sign init" (required)
  --director-root FILE      root 1 of the director (required)
  --profile NAME            enrollment profile (required)
  --token TOKEN             its token; or --token-file FILE, which keeps it out of the process list
  --model NAME              (required)
  --hardware-id ID          (required, may be repeated)
  --serial TEXT             serial number (required)
  --server HOST             default localhost; --device-port 8444, --mqtt-port 8883
  --component NAME=VERSION:BUILD:SVN   what the factory installed; default main=1.0.0:1:0, may be repeated
  --image NAME=FILE         the factory's image of a component
  --key-algorithm NAME      P-256 (default), P-384, Ed25519, ML-DSA-44, ML-DSA-65 or ML-DSA-87
  --delivery WAY            how images come: https, mqtt or auto (default)
  --allow-evaluation        accept keys that were made for trying the product out
  --constrained             verify as a device without a JSON parser does, with pinned keys in place of
                            root chains; with --release-keys FILE, public.json of "fleetseal sign init"
  --managed                 the owner agreed that the operator decides about updates`

export async function enrollCommand(args: string[], print: (line: string) => void): Promise<void> {
  const { values } = parse(args)
  const { serial } = values
  if (serial === undefined) throw usage('--serial is missing')
  const { config, ...rest } = await enrollmentOf(values)
  const deviceId = await enrollDevice({ ...rest, config: { ...config, serialNumber: serial } })
  print(`This is device ${deviceId}. Its key and certificate are in ${rest.dir}.`)
  print(`Next: npm run device -- run --dir ${rest.dir}`)
}

type Values = ReturnType<typeof parse>['values']

/** What the options say of a device, all but its serial number. Throws DeviceError `usage` for what is missing or wrong. */
export async function enrollmentOf(
  values: Values,
): Promise<Omit<Enrollment, 'config'> & { config: Omit<DeviceConfigInput, 'serialNumber'> }> {
  const need = (name: 'dir' | 'ca' | 'image-root' | 'director-root' | 'profile' | 'model') => {
    const value = values[name]
    if (value === undefined) throw usage(`--${name} is missing`)
    return value
  }
  const dir = need('dir')
  const directorRoot = await textOf(need('director-root'))
  const config = {
    format: 1 as const,
    serverHost: values.server ?? 'localhost',
    ...portOf('devicePort', values['device-port']),
    ...portOf('mqttPort', values['mqtt-port']),
    model: need('model'),
    hardwareIds: values['hardware-id'] ?? [],
    components: componentsOf(values.component ?? ['main=1.0.0:1:0']),
    ...keyAlgorithmOf(values['key-algorithm']),
    ...deliveryOf(values.delivery),
    allowEvaluation: values['allow-evaluation'] ?? false,
    managed: values.managed ?? false,
    ...(await profileOf(values, directorRoot)),
  }
  return {
    dir,
    config,
    root: await textOf(need('ca')),
    imageRoot: await textOf(need('image-root')),
    directorRoot,
    profile: need('profile'),
    token: await tokenOf(values),
    images: await imagesOf(values.image ?? []),
  }
}

function parse(args: string[]) {
  try {
    return parseArgs({ args, options: enrollOptions, strict: true })
  } catch (error) {
    throw usage(messageOf(error))
  }
}

async function tokenOf(values: { token?: string; 'token-file'?: string }): Promise<string> {
  const { token, 'token-file': file } = values
  if (token !== undefined) return token
  if (file === undefined) throw usage('--token or --token-file is missing')
  return (await textOf(file)).trim()
}

async function textOf(path: string): Promise<string> {
  return (await bytesOf(path)).toString('utf8')
}

async function bytesOf(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw usage(`${path} cannot be read: ${messageOf(error)}`)
  }
}

function portOf(name: 'devicePort' | 'mqttPort', text: string | undefined) {
  return text === undefined ? {} : { [name]: Number(text) }
}

function deliveryOf(text: string | undefined): Pick<DeviceConfigInput, 'delivery'> {
  if (text === undefined) return {}
  const parsed = DeviceConfig.shape.delivery.unwrap().safeParse(text)
  if (parsed.success) return { delivery: parsed.data }
  throw usage(`--delivery ${text} is not one of them`)
}

function keyAlgorithmOf(text: string | undefined): Pick<DeviceConfigInput, 'keyAlgorithm'> {
  if (text === undefined) return {}
  const parsed = DeviceConfig.shape.keyAlgorithm.unwrap().safeParse(text)
  if (parsed.success) return { keyAlgorithm: parsed.data }
  throw usage(`--key-algorithm ${text} is not one of them`)
}

async function profileOf(
  values: { constrained?: boolean; 'release-keys'?: string },
  directorRoot: string,
): Promise<Pick<DeviceConfigInput, 'profile' | 'pins'>> {
  const { constrained = false, 'release-keys': file } = values
  if (!constrained && file === undefined) return {}
  if (!constrained) throw usage('--release-keys is for a device made with --constrained')
  if (file === undefined) throw usage('--release-keys is missing')
  return { profile: 'constrained', pins: pinsOf({ directorRoot, publicPart: await textOf(file) }) }
}

function componentsOf(texts: string[]): DeviceConfigInput['components'] {
  const entries = texts.map((text) => {
    const match = /^([a-z0-9-]+)=([^:]+):(\d+):(\d+)$/.exec(text)
    if (!match) throw usage(`--component ${text} is not NAME=VERSION:BUILD:SVN`)
    const [, name = '', version = '', build, svn] = match
    return [name, { version, build: Number(build), svn: Number(svn) }] as const
  })
  return Object.fromEntries(entries)
}

async function imagesOf(texts: string[]): Promise<Record<string, Buffer>> {
  const images: Record<string, Buffer> = {}
  for (const text of texts) {
    const at = text.indexOf('=')
    if (at < 1) throw usage(`--image ${text} is not NAME=FILE`)
    images[text.slice(0, at)] = await bytesOf(text.slice(at + 1))
  }
  return images
}

function usage(message: string): DeviceError {
  return new DeviceError('usage', message, 'Run: npm run device -- help enroll')
}
