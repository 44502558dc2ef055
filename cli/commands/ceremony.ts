import { answerCaRequest, writeCaAnswer } from '../../pki/ceremony/ca-answer.ts'
import { type CaRequest, readCaRequest } from '../../pki/ceremony/ca-request.ts'
import { toPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { crossCertify } from '../../pki/x509/rollover.ts'
import {
  confirm,
  confirmed,
  dir,
  entryOf,
  folderOf,
  nameOf,
  passphraseFile,
  passphraseOf,
  show,
} from '../ceremony/asking.ts'
import { keyIdOf } from '../ceremony/key-id.ts'
import { readRecord, record } from '../ceremony/record.ts'
import {
  makeRoot,
  openRoot,
  readRoot,
  refusing,
  refusingNow,
  rootAlgorithms,
  rootFile,
} from '../ceremony/root-folder.ts'
import type { CommandInput, Noun } from '../command.ts'
import { usageError } from '../failure.ts'
import { readSmall } from '../settings.ts'
import { writeNew } from '../sign/files.ts'
import { askNewPassphrase, askPassphrase } from '../signing-person.ts'
import { plain } from '../text.ts'
import { crlCommand } from './ceremony-crl.ts'

const dayMs = 86_400_000

export const ceremonyNoun: Noun = {
  noun: 'ceremony',
  summary:
    'the root on a machine without network: make it, sign authorities, follow it with another',
  commands: [
    {
      verb: 'init',
      args: 'NAME',
      summary:
        'Make a root; its key is encrypted to a passphrase in the folder, or stays in a token',
      options: {
        dir,
        'passphrase-file': passphraseFile,
        organization: { type: 'string', value: 'NAME', about: 'goes into the certificate' },
        algorithm: { type: 'string', value: 'KIND', about: `${rootAlgorithms.join(', ')} (P-384)` },
        years: { type: 'string', value: 'N', about: 'how long it is valid (20)' },
        key: {
          type: 'string',
          value: 'URI',
          about:
            'make the key in a token: pkcs11:token=LABEL;object=NAME?module-path=/…; its PIN is the passphrase',
        },
      },
      run: init,
    },
    {
      verb: 'sign',
      args: 'REQUEST',
      summary: 'Certify an authority that a server asked for; writes the answer file',
      options: {
        dir,
        'passphrase-file': passphraseFile,
        out: { type: 'string', value: 'FILE', about: 'the answer (REQUEST.answer.pem)' },
        years: { type: 'string', value: 'N', about: 'how long it is valid (8)' },
        confirm,
      },
      run: sign,
    },
    {
      verb: 'rollover',
      args: 'OLD-ROOT',
      summary:
        'Connect this root to the one it follows (a certificate file); writes what a server imports',
      options: {
        dir,
        'passphrase-file': passphraseFile,
        'old-dir': {
          type: 'string',
          value: 'DIR',
          about: "the old root's folder, when its key is not on the server",
        },
        'old-passphrase-file': passphraseFile,
        out: { type: 'string', value: 'FILE', about: 'the file to import (./root-update.pem)' },
        confirm,
      },
      run: rollover,
    },
    crlCommand,
    {
      verb: 'log',
      args: '',
      summary: 'What the root of a folder has signed',
      options: { dir },
      run: async ({ values, out }) =>
        out.rows(readRecord(folderOf(values)), [
          { head: 'at', cell: (entry) => entry.at },
          { head: 'what', cell: (entry) => entry.action },
          { head: 'subject', cell: (entry) => entry.subject },
          { head: 'until', cell: (entry) => entry.notAfter },
          { head: 'fingerprint', cell: (entry) => entry.fingerprint },
        ]),
    },
  ],
}

async function init({ args: [name = ''], values, out, world }: CommandInput): Promise<void> {
  const folder = folderOf(values)
  const keyUri = values.text('key')
  const { certificate } = await makeRoot({
    dir: folder,
    commonName: name,
    organization: values.text('organization'),
    algorithm: values.oneOf('algorithm', rootAlgorithms) ?? 'P-384',
    years: years(values, 20),
    keyUri,
    passphrase: await passphraseOf(
      values,
      'passphrase-file',
      keyUri === undefined ? askNewPassphrase(world) : askPassphrase(world),
      keyUri === undefined ? 12 : 4,
    ),
    now: world.now(),
  })
  const made = entryOf('init', certificate, world.now())
  record(folder, [made])
  show(out, [made])
  out.say(
    `next: give ${folder}/${rootFile} to the server (FLEETSEAL_ROOT_FILE) or to ceremony rollover`,
  )
}

async function sign({ args: [file = ''], values, out, world }: CommandInput): Promise<void> {
  const folder = folderOf(values)
  const text = await readSmall(file, 'the request file', 'its path')
  const request = refusingNow(() => readCaRequest(text))
  const asked = describeRequest(request)
  for (const line of asked) world.stderr.write(`${plain(line)}\n`)
  await confirmed(world, values, keyIdOf(request.csr.spki))
  const passphrase = await passphraseOf(values, 'passphrase-file', askPassphrase(world))
  const root = await openRoot(folder, passphrase)
  const at = Math.floor(world.now().getTime() / 1000) * 1000
  const notAfter = Math.min(
    at + years(values, 8) * 365 * dayMs,
    root.certificate.notAfter.getTime(),
  )
  const issued = await refusing(() =>
    answerCaRequest(request, root, {
      notBefore: new Date(at - 300_000),
      notAfter: new Date(notAfter),
    }),
  )
  const made = entryOf('sign', issued, world.now())
  record(folder, [made])
  const path = values.text('out') ?? `${file}.answer.pem`
  writeNew(path, writeCaAnswer(issued, root.certificate), 0o644)
  show(out, [made])
  out.say(`next: carry ${path} to the server: fleetseal authority answer ${path}`)
}

async function rollover({ args: [file = ''], values, out, world }: CommandInput): Promise<void> {
  const folder = folderOf(values)
  const old = readRoot(file)
  const lines = [`old root: ${nameOf(old.subject)}`, `key: ${keyIdOf(old.spki)}`]
  for (const line of lines) world.stderr.write(`${plain(line)}\n`)
  await confirmed(world, values, keyIdOf(old.spki))
  const ask = askPassphrase(world)
  const root = await openRoot(folder, await passphraseOf(values, 'passphrase-file', ask))
  const oldWithNew = await refusing(() => crossCertify(old, root))
  const bridges = [oldWithNew]
  record(folder, [entryOf('rollover', parseCertificate(oldWithNew), world.now())])
  const oldFolder = values.text('old-dir')
  if (oldFolder !== undefined) {
    const before = await openRoot(oldFolder, await passphraseOf(values, 'old-passphrase-file', ask))
    const newWithOld = await refusing(() => crossCertify(root.certificate, before))
    record(oldFolder, [entryOf('rollover', parseCertificate(newWithOld), world.now())])
    bridges.push(newWithOld)
  }
  const path = values.text('out') ?? './root-update.pem'
  const certificates = [root.certificate.der, ...bridges]
  writeNew(path, certificates.map((der) => toPem('CERTIFICATE', der)).join(''), 0o644)
  show(
    out,
    bridges.map((der) => entryOf('rollover', parseCertificate(der), world.now())),
  )
  out.say(`next: carry ${path} to the server: fleetseal authority import-root ${path}`)
}

function describeRequest({ csr, subject, crlUrl, aiaUrl, permittedNames }: CaRequest): string[] {
  return [
    `authority: ${nameOf(subject)}`,
    `key: ${keyIdOf(csr.spki)}`,
    `CRL of the root: ${crlUrl ?? 'none'}`,
    `certificate of the root: ${aiaUrl ?? 'nowhere'}`,
    ...(permittedNames ?? []).map((name) => `held to: ${nameOf(name)}`),
  ]
}

function years(values: CommandInput['values'], fallback: number): number {
  const given = values.number('years') ?? fallback
  if (Number.isInteger(given) && given >= 1 && given <= 25) return given
  throw usageError('--years must be a whole number from 1 to 25')
}
