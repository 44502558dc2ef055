import { open, rm } from 'node:fs/promises'

import { CertificateView } from '../../server/certificates/wire.ts'
import { ChoiceView } from '../../server/deployments/wire.ts'
import { DeviceView } from '../../server/devices/wire.ts'
import { KeyBundleView } from '../../server/enrollment/wire.ts'
import { collect } from '../collect.ts'
import type { CommandInput, Noun, Option } from '../command.ts'
import { usageError } from '../failure.ts'
import { deviceId, groupId } from '../lookup.ts'
import { Page } from '../page.ts'
import type { Column } from '../table.ts'
import { deviceHistoryCommand } from './device-history.ts'
import { importDevices } from './device-import.ts'
import { overrideCommands } from './device-override.ts'
import { liftPenalty, penaltyFields } from './device-penalty.ts'
import { explainDevice } from './explain.ts'

const states = ['registered', 'active', 'disabled', 'revoked', 'retired'] as const

const columns: Column<DeviceView>[] = [
  { head: 'serial', cell: (device) => device.serialNumber },
  { head: 'state', cell: (device) => device.state },
  { head: 'connected', cell: (device) => device.connected },
  { head: 'model', cell: (device) => device.model },
  { head: 'runs', cell: runs },
  { head: 'certificate until', cell: credential },
  { head: 'id', cell: (device) => device.id },
]

const reason: Record<string, Option> = {
  reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log (needed)' },
}

export const deviceNoun: Noun = {
  noun: 'device',
  summary: 'devices: what they are, run, and whether they may connect',
  commands: [
    {
      verb: 'list',
      args: '',
      summary: 'Devices, newest first',
      options: {
        query: {
          type: 'string',
          value: 'QUERY',
          about: `a piece of the name or serial number, or a question like 'model = "cam-2" and lastSeen > 7d'`,
        },
        group: { type: 'string', value: 'GROUP', about: 'only this group' },
        state: { type: 'string', value: 'STATE', about: `one of ${states.join(', ')}` },
        connected: { type: 'boolean', about: 'only those connected now' },
        limit: { type: 'string', value: 'N', about: 'at most so many (all)' },
      },
      run: async ({ client, values, out }) => {
        const api = await client()
        const group = values.text('group')
        const query = {
          query: values.text('query'),
          groupId: group === undefined ? undefined : await groupId(api, group),
          state: values.oneOf('state', states),
          connected: values.flag('connected') || undefined,
          atMost: values.number('limit'),
        }
        out.rows(await collect(api.list(Page(DeviceView), '/devices', query)), columns)
      },
    },
    {
      verb: 'show',
      args: 'DEVICE',
      summary: 'One device, by id or serial number',
      run: async ({ client, args: [device = ''], out }) => {
        const api = await client()
        show(out, await api.get(DeviceView, `/devices/${await deviceId(api, device)}`))
      },
    },
    deviceHistoryCommand,
    {
      verb: 'register',
      args: 'SERIAL',
      summary: 'Make the record of a device before it enrolls',
      options: {
        name: { type: 'string', value: 'NAME', about: 'for people (the serial number)' },
        group: { type: 'string', value: 'GROUP', about: 'the group it joins' },
      },
      run: async ({ client, args: [serialNumber], values, out }) => {
        const api = await client()
        const group = values.text('group')
        const body = {
          serialNumber,
          name: values.text('name'),
          groupId: group === undefined ? undefined : await groupId(api, group),
        }
        show(out, await api.create(DeviceView, '/devices', body))
      },
    },
    {
      verb: 'import',
      args: 'FILE',
      summary: 'Register the devices of a CSV file: serialNumber and, if you like, name',
      options: {
        profile: { type: 'string', value: 'PROFILE', about: 'where they will enroll (needed)' },
        'dry-run': { type: 'boolean', about: 'say what would happen and change nothing' },
      },
      run: importDevices,
    },
    {
      verb: 'certificates',
      args: 'DEVICE',
      summary: 'Certificates of a device, newest first',
      run: async ({ client, args: [device = ''], out }) => {
        const api = await client()
        const path = `/devices/${await deviceId(api, device)}/certificates` as const
        out.rows(await collect(api.list(Page(CertificateView), path)), [
          { head: 'state', cell: (certificate) => certificate.state },
          { head: 'serial', cell: (certificate) => certificate.serial },
          { head: 'until', cell: (certificate) => certificate.notAfter },
          { head: 'revoked', cell: (certificate) => certificate.revocationReason },
          { head: 'id', cell: (certificate) => certificate.id },
        ])
      },
    },
    {
      verb: 'choices',
      args: 'DEVICE',
      summary: 'What the owner of a device chose about updates',
      run: async ({ client, args: [device = ''], out }) => {
        const api = await client()
        const path = `/devices/${await deviceId(api, device)}/choices` as const
        out.rows(await collect(api.list(Page(ChoiceView), path)), [
          { head: 'at', cell: (choice) => choice.at },
          { head: 'choice', cell: (choice) => choice.choice },
          { head: 'until', cell: (choice) => choice.until },
          { head: 'outcome', cell: (choice) => choice.outcome },
          { head: 'version', cell: (choice) => choice.version },
          { head: 'text', cell: (choice) => choice.textSha256?.slice(0, 12) },
          { head: 'deployment', cell: (choice) => choice.deploymentId },
        ])
      },
    },
    ...overrideCommands,
    liftPenalty,
    explainDevice,
    {
      verb: 'disable',
      args: 'DEVICE',
      summary: 'Cut a device off at once; enable lets it back',
      options: reason,
      run: action('disable'),
    },
    {
      verb: 'enable',
      args: 'DEVICE',
      summary: 'Let a disabled device back',
      options: reason,
      run: action('enable'),
    },
    {
      verb: 'revoke',
      args: 'DEVICE',
      summary: 'Cut a device off for good and revoke its certificates',
      options: reason,
      run: action('revoke'),
    },
    {
      verb: 'retire',
      args: 'DEVICE',
      summary: 'Take a device out of service for good',
      options: reason,
      run: action('retire'),
    },
    {
      verb: 'key-bundle',
      args: 'DEVICE FILE',
      summary:
        'Make key and certificate for a device that cannot, as PKCS #12; prints the passphrase once',
      options: {
        'key-algorithm': { type: 'string', value: 'NAME', about: 'P-256, P-384 or RSA-2048' },
      },
      run: keyBundle,
    },
  ],
}

async function keyBundle({ client, args: [device = '', name = ''], values, out }: CommandInput) {
  const api = await client()
  const path = `/devices/${await deviceId(api, device)}/key-bundles` as const
  // Before the bundle is made: it is given out only once.
  const file = await open(name, 'wx', 0o600).catch((error: unknown) => {
    throw usageError(`${name} cannot be written: ${String(error)}`, 'Name a file that is not there')
  })
  try {
    const body = { keyAlgorithm: values.text('key-algorithm') }
    const { pkcs12, ...rest } = await api.create(KeyBundleView, path, body)
    await file.writeFile(Buffer.from(pkcs12, 'base64'))
    out.answer(rest, (one) => one.passphrase)
  } catch (error) {
    await rm(name, { force: true })
    throw error
  } finally {
    await file.close()
  }
}

function action(word: 'disable' | 'enable' | 'revoke' | 'retire') {
  return async ({ client, args: [device = ''], values, out }: CommandInput) => {
    const body = { action: word, reason: values.needed('reason') }
    const api = await client()
    show(out, await api.act(DeviceView, `/devices/${await deviceId(api, device)}/actions`, body))
  }
}

/** Whoever polls with a token has to be seen in a list. */
function credential({ certificate, targetToken }: DeviceView): string | undefined {
  const until = certificate?.notAfter.slice(0, 10)
  return targetToken ? `${until ?? 'none'}, WEAK: token` : until
}

/** `firmware 1.2.0, bootloader 3`. */
function runs(device: DeviceView): string {
  return device.installed
    .map((item) => `${String(item['component'])} ${String(item['version'])}`)
    .join(', ')
}

/** `freeze: The director timestamp has expired (2026-11-26T12:00:00Z)`. */
function refusal({ lastRefusal }: DeviceView): string | null {
  if (!lastRefusal) return null
  const { code, detail, at } = lastRefusal
  return `${[code, detail].filter(Boolean).join(': ')} (${at})`
}

function show(out: CommandInput['out'], device: DeviceView): void {
  out.fields(device, (one) => [
    ['serial number', one.serialNumber],
    ['name', one.name],
    ['state', one.state],
    ['connected', one.connected],
    ['last seen', one.lastSeenAt],
    ['model', one.model],
    ['runs', runs(one)],
    ['opted out', one.updateOptOut],
    ['monitoring', one.monitoring],
    ['managed', one.managed],
    ['last refused', refusal(one)],
    ...penaltyFields(one),
    [
      'certificate',
      one.certificate && `${one.certificate.state} until ${one.certificate.notAfter}`,
    ],
    ['target token', one.targetToken ? 'A WEAKNESS: no certificate is needed' : undefined],
    ['fingerprint', one.certificate?.fingerprint],
    ['groups', one.groupIds.join(', ')],
    ['id', one.id],
  ])
}
