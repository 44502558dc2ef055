import { resolve } from 'node:path'

import type { Command, CommandInput, Option } from '../command.ts'
import { usageError } from '../failure.ts'
import { newImageKey, openImageKey } from '../sign/image-key.ts'
import { signImage } from '../sign/image.ts'
import { storedPassphrase } from '../sign/key-folder.ts'
import { askNewPassphrase, askPassphrase, passphraseOr } from '../signing-person.ts'
import { plain } from '../text.ts'

const keys: Option = {
  type: 'string',
  value: 'DIR',
  about: 'the folder of the offline keys (./keys)',
}

/** For devices that verify only the signature of their own format (docs/devices/). */
export const imageCommands: readonly Command[] = [
  {
    verb: 'image-key',
    args: 'NAME',
    summary: 'Make a key that signs .swu files and RAUC bundles, and its certificate for devices',
    options: {
      keys,
      token: {
        type: 'string',
        value: 'URI',
        about: 'make the key in a token: pkcs11:token=LABEL;object=NAME?module-path=/…',
      },
    },
    run: async ({ args: [name = ''], values, out, world }) => {
      const keysDir = values.text('keys') ?? './keys'
      const passphrase = storedPassphrase(keysDir) ?? askNewPassphrase(world)
      const made = await newImageKey({
        keysDir,
        name,
        tokenUri: values.text('token'),
        passphrase: passphraseOr(passphrase, world),
      })
      out.fields(made, (one) => [
        ['key', one.key],
        ['certificate', one.certificate],
      ])
    },
  },
  {
    verb: 'image',
    args: 'FILE',
    summary: 'Sign a .swu or a RAUC bundle (CMS), for devices that verify only that',
    options: {
      keys,
      key: { type: 'string', value: 'NAME', about: 'of the image key' },
      out: {
        type: 'string',
        value: 'FILE',
        about: 'where the signed image goes (NAME.signed.swu)',
      },
      confirm: {
        type: 'string',
        value: 'VERSION',
        about: 'the version to sign, instead of being asked',
      },
    },
    run: signOne,
  },
]

async function signOne({ args: [file = ''], values, out, world }: CommandInput): Promise<void> {
  const keysDir = values.text('keys') ?? './keys'
  const name = values.text('key')
  if (name === undefined) throw usageError('Which key signs? Name it with --key NAME')
  const target = values.text('out') ?? signedName(file)
  if (resolve(target) === resolve(file)) {
    throw usageError('The signed image cannot take the place of the one that is read')
  }
  const passphrase = passphraseOr(storedPassphrase(keysDir) ?? askPassphrase(world), world)
  const signed = await signImage({
    file,
    out: target,
    key: async () => await openImageKey({ keysDir, name, passphrase }),
    confirm: async (lines, version) => {
      for (const line of lines) world.stderr.write(`${plain(line)}\n`)
      const confirmed = values.text('confirm')
      if (confirmed !== undefined) return confirmed
      const typed = await world.ask(`Type the version (${plain(version)}) to sign this: `)
      if (typed !== undefined) return typed
      throw usageError('Nobody can be asked here', 'Look at the lines above, then add --confirm')
    },
    now: world.now(),
  })
  out.fields({ ...signed, file: target }, (one) => [
    ['signed', one.file],
    ['version', one.version],
    ['next', `fleetseal artifact upload ${one.file}`],
  ])
}

/** The ending stays: SWUpdate goes by it. */
function signedName(file: string): string {
  const dot = file.lastIndexOf('.')
  return dot <= 0 ? `${file}.signed` : `${file.slice(0, dot)}.signed${file.slice(dot)}`
}
