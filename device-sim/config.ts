import { z } from 'zod'

import type { Disk } from './disk.ts'
import { replaceFile } from './disk.ts'
import { DeviceError } from './errors.ts'
import { Safety } from './update/conditions.ts'
import { isZone } from './update/hours.ts'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/)
const counter = z.int().min(0)
const rawKey = z.string().regex(/^[0-9a-f]{64}$/)
const port = z.int().min(1).max(65_535)
const window = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/)

/** What the maker builds in and the owner sets; `device.json` in the state directory. Durations in milliseconds. */
export const DeviceConfig = z.strictObject({
  format: z.literal(1),
  serverHost: z.string().min(1).max(253),
  devicePort: port.default(8444),
  mqttPort: port.default(8883),
  model: name,
  hardwareIds: z.array(z.string().min(1).max(64)).min(1).max(16),
  /** What the factory installed, by component. */
  components: z
    .record(
      name,
      z.strictObject({ version: z.string().min(1).max(64), build: counter, svn: counter }),
    )
    .refine((all) => Object.keys(all).length >= 1 && Object.keys(all).length <= 8, '1 to 8'),
  /** PrintableString, as it will be in the certificate. */
  serialNumber: z.string().regex(/^[A-Za-z0-9 '()+,\-./:=?]{1,64}$/),
  /** What is made at enrollment; renewals keep to it. */
  keyAlgorithm: z
    .enum(['P-256', 'P-384', 'Ed25519', 'ML-DSA-44', 'ML-DSA-65', 'ML-DSA-87'])
    .default('P-256'),
  allowEvaluation: z.boolean().default(false),
  /** Which verifier runs: the full one, or that of a device with room for neither a JSON parser nor a root chain. */
  profile: z.enum(['full', 'constrained']).default('full'),
  /** The keys that the constrained one is built with, raw Ed25519 in lower hex (updates.md section 4, profile P). */
  pins: z
    .strictObject({
      directorTargets: rawKey,
      directorSnapshot: rawKey,
      directorTimestamp: rawKey,
      release: z.tuple([rawKey, rawKey]).refine(([one, other]) => one !== other, 'two keys'),
    })
    .optional(),
  /** Agreed with the owner at enrollment: the operator's policy may then beat an opt-out (updates.md 7.2). */
  managed: z.boolean().default(false),
  /** Where trusted time starts and falls back to (updates.md 2.5). */
  firmwareBuildTime: z
    .string()
    .regex(/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/)
    .optional(),
  attributes: z
    .record(z.string().min(1).max(64), z.union([z.string().max(256), z.number(), z.boolean()]))
    .refine((all) => Object.keys(all).length <= 64, 'at most 64')
    .default({}),
  /** The owner's hours, device-local, in which a restart does not disturb; none means any time. */
  quiet: z.array(window).max(8).default([]),
  /** Of the IANA list; that of the machine when absent. */
  timeZone: z.string().max(64).refine(isZone, 'no time zone').optional(),
  /** How long an installation takes with its restart, by the maker; measured by the device from its first one on. */
  installMs: counter.max(86_400_000).default(120_000),
  /** What must be so before anything is downloaded or installed. */
  safety: Safety.prefault({}),
  /** How long after a notice an automatic update waits for a word of the owner. */
  noticeMs: counter.max(86_400_000).default(0),
  /** How long a new image may run without the server's commit before it is rolled back (updates.md 7.3). */
  commitLimitMs: counter.max(86_400_000).default(1_800_000),
  helloRetryMs: z.int().min(100).max(3_600_000).default(30_000),
  reconnectMaxMs: z.int().min(100).max(3_600_000).default(30_000),
  /** How images come: by HTTPS, in chunks over MQTT, or by whichever works (updates.md section 6). */
  delivery: z.enum(['https', 'mqtt', 'auto']).default('auto'),
  /** Where images are asked for first, without showing who asks; hashes decide (updates.md section 6). */
  mirrors: z
    .array(
      z.strictObject({
        url: z
          .url({ protocol: /^https?$/ })
          .max(500)
          .regex(/[^/]$/, 'no slash at the end'),
        ca: z.string().max(65_536).optional(),
      }),
    )
    .max(4)
    .default([]),
  /** Stores to which the server may send this device for images, without showing who asks; none: it is sent nowhere. */
  redirectHosts: z
    .array(
      z.strictObject({
        host: z.string().min(1).max(255).refine(isUrlHost, 'a host as in a URL, without port 443'),
        ca: z.string().max(65_536).optional(),
      }),
    )
    .max(4)
    .default([]),
  /** How long a chunk is waited for before it is asked for again; doubled up to 5 minutes. */
  chunkRepairMs: z.int().min(50).max(300_000).default(5_000),
  /** The least rate of a download, in bytes a second over the window (updates.md section 4, step 10). */
  minRateBytes: counter.default(100),
  minRateWindowMs: z.int().min(100).max(3_600_000).default(300_000),
})
export type DeviceConfig = z.infer<typeof DeviceConfig>
export type DeviceConfigInput = z.input<typeof DeviceConfig>

const file = 'device.json'
const maxBytes = 65_536

/** Throws DeviceError when there is none or it is not valid. */
export async function loadConfig(disk: Disk): Promise<DeviceConfig> {
  const config = await findConfig(disk)
  if (!config) {
    throw new DeviceError(
      'not-enrolled',
      'There is no device here',
      'Run: npm run device -- enroll',
    )
  }
  return config
}

export async function findConfig(disk: Disk): Promise<DeviceConfig | undefined> {
  const bytes = await disk.read(file, maxBytes)
  return bytes ? parseConfig(parseJson(bytes)) : undefined
}

export async function saveConfig(disk: Disk, config: DeviceConfig): Promise<void> {
  await replaceFile(disk, file, Buffer.from(`${JSON.stringify(config, undefined, 2)}\n`))
}

/** Throws DeviceError that names every mistake. */
export function parseConfig(value: unknown): DeviceConfig {
  const parsed = DeviceConfig.safeParse(value)
  if (parsed.success) return requireWhole(parsed.data)
  const mistakes = parsed.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
  throw new DeviceError('config', `device.json is not valid: ${mistakes.join('; ')}`, 'Correct it')
}

function requireWhole(config: DeviceConfig): DeviceConfig {
  const { profile, pins, components } = config
  if (profile === 'full' || (pins && Object.keys(components).length === 1)) return config
  throw new DeviceError(
    'config',
    'A constrained device has pinned keys and one component',
    'Enroll it with --constrained, --release-keys and one --component',
  )
}

function isUrlHost(host: string): boolean {
  return URL.parse(`https://${host}/`)?.host === host
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch {
    return undefined
  }
}
