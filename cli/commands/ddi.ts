import { DdiDeviceView, LineView, ProductView, TokenView } from '../../server/ddi/wire.ts'
import type { CommandInput, Noun } from '../command.ts'
import { deviceId, profileId } from '../lookup.ts'

export const ddiNoun: Noun = {
  noun: 'ddi',
  summary: 'devices that poll as with hawkBit: SWUpdate, RAUC, Zephyr',
  commands: [
    {
      verb: 'model',
      args: 'MODEL CLIENT',
      summary: 'Let devices of a model poll by a client: swupdate, rauc, zephyr or generic',
      options: {
        component: { type: 'string', value: 'NAME', about: 'what their releases are for (main)' },
        part: { type: 'string', value: 'TYPE', about: 'of the one part of an update (os, bApp)' },
        'version-attribute': {
          type: 'string',
          value: 'KEY',
          about: 'the attribute in which the booted image says its version',
        },
        'claim-after-boot': {
          type: 'boolean',
          about: "no such attribute: the client's word after the boot has to do (not verified)",
        },
        every: {
          type: 'string',
          value: 'SECONDS',
          about: 'between polls with nothing to do (300)',
        },
      },
      run: async ({ client, args: [model = '', profile = ''], values, out }) => {
        const attribute = values.text('version-attribute')
        const versionAttribute =
          values.flag('claim-after-boot') && attribute === undefined ? null : attribute
        const body = {
          profile,
          component: values.text('component') ?? 'main',
          part: values.text('part'),
          versionAttribute,
          pollSeconds: values.number('every'),
        }
        showProduct(out, await (await client()).replace(ProductView, `/models/${model}/ddi`, body))
      },
    },
    {
      verb: 'profile',
      args: 'PROFILE MODEL HARDWARE…',
      summary: 'Say what the devices of an enrollment profile are: their model and hardware ids',
      run: async ({ client, args: [profile = '', model = '', ...hardwareIds], out }) => {
        const api = await client()
        const path = `/enrollment-profiles/${await profileId(api, profile)}/ddi` as const
        showLine(out, await api.replace(LineView, path, { model, hardwareIds }))
      },
    },
    {
      verb: 'show',
      args: 'DEVICE',
      summary: 'What a polling device is shown now, and why; its last words',
      run: async ({ client, args: [device = ''], out }) => {
        const api = await client()
        showDevice(out, await api.get(DdiDeviceView, `/devices/${await deviceId(api, device)}/ddi`))
      },
    },
    {
      verb: 'name',
      args: 'DEVICE CONTROLLER',
      summary: 'Record what a device calls itself in its requests, where that is not its id',
      run: async ({ client, args: [device = '', controllerId = ''], out }) => {
        const api = await client()
        const path = `/devices/${await deviceId(api, device)}/ddi` as const
        showDevice(out, await api.replace(DdiDeviceView, path, { controllerId }))
      },
    },
    {
      verb: 'token',
      args: 'DEVICE',
      summary: 'Let a device that cannot show a certificate poll with a token (a weakness)',
      options: {
        reason: { type: 'string', value: 'TEXT', about: 'why, for the audit log (needed)' },
        model: { type: 'string', value: 'NAME', about: 'where nothing else says what it is' },
        'hardware-id': {
          type: 'string',
          value: 'ID',
          multiple: true,
          about: 'with --model; may be repeated',
        },
        'despite-certificate': {
          type: 'boolean',
          about: 'also for a device that has had a certificate',
        },
      },
      run: async ({ client, args: [device = ''], values, out }) => {
        const api = await client()
        const hardwareIds = values.texts('hardware-id')
        const body = {
          reason: values.needed('reason'),
          despiteCertificate: values.flag('despite-certificate'),
          model: values.text('model'),
          hardwareIds: hardwareIds.length > 0 ? hardwareIds : undefined,
        }
        const path = `/devices/${await deviceId(api, device)}/ddi/token` as const
        out.fields(await api.act(TokenView, path, body), (one) => [
          ['device', one.deviceId],
          ['token', one.token],
          ['', 'shown this once; whoever has it is the device'],
        ])
      },
    },
    {
      verb: 'remove-token',
      args: 'DEVICE',
      summary: 'The token of a device counts no more',
      run: async ({ client, args: [device = ''] }) => {
        const api = await client()
        await api.delete(`/devices/${await deviceId(api, device)}/ddi/token`)
      },
    },
  ],
}

function showProduct(out: CommandInput['out'], product: ProductView): void {
  out.fields(product, (one) => [
    ['model', one.model],
    ['client', one.profile],
    ['component', one.component],
    ['part', one.part],
    ['proof', one.versionAttribute ?? 'none: the word of the client after the boot'],
    ['polls', `every ${one.pollSeconds} s`],
  ])
}

function showLine(out: CommandInput['out'], line: LineView): void {
  out.fields(line, (one) => [
    ['model', one.model],
    ['hardware', one.hardwareIds.join(', ')],
  ])
}

function showDevice(out: CommandInput['out'], device: DdiDeviceView): void {
  out.fields(device, (one) => [
    ['calls itself', one.controllerId],
    ['client', one.profile],
    ['shown', one.link === 'none' ? `nothing: ${one.reason}` : one.link],
    ['target token', one.targetToken ? 'A WEAKNESS: no certificate is needed' : undefined],
    ['agreed beforehand', one.autoConfirmAt],
    ['action', one.action?.id],
    ['started', one.action?.startedAt],
    ['claimed', one.action?.claimedAt],
    ['last words', one.action?.messages.slice(0, 5).join(' · ')],
  ])
}
