import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { newImageKey, openImageKey } from '../../cli/sign/image-key.ts'
import { signImage } from '../../cli/sign/image.ts'
import { createOperator } from '../../demo/fleetseal.ts'
import { bytesSource } from '../../pki/images/source.ts'
import { readSwu } from '../../pki/images/swu.ts'
import { imageFor } from '../support/images.ts'
import { makeToken, noToken, tokenPin } from '../support/softhsm.ts'
import { cpio, swDescription } from '../support/swu.ts'

let folder: string
const { fleetseal } = createOperator({}, () => {})
const at = (name: string) => join(folder, name)
const payload = Buffer.alloc(20_000, 9)
const fixture = (name: string) => new URL(`../fixtures/images/${name}.raucb`, import.meta.url)

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'fleetseal-images-'))
  // What evaluation mode leaves in a folder of keys.
  await writeFile(at('passphrase'), 'a passphrase of a test\n')
  for (const name of ['release-1', 'stranger']) {
    await fleetseal('sign', 'image-key', name, '--keys', folder)
  }
  const unsigned = cpio([
    { name: 'sw-description', bytes: swDescription('2.0.1', payload, at('installed.bin')) },
    { name: 'payload.bin', bytes: payload },
  ])
  await writeFile(at('unsigned.swu'), unsigned)
  for (const name of ['plain-gzip', 'verity-gzip']) {
    await copyFile(fixture(name), at(`${name}.raucb`))
  }
})
afterAll(async () => await rm(folder, { recursive: true, force: true }))

const sign = async (from: string, to: string, key = 'release-1') => {
  const how = ['--keys', folder, '--key', key, '--out', at(to), '--confirm', '2.0.1']
  return await fleetseal('sign', 'image', at(from), ...how)
}

function run(program: string, ...args: string[]): SpawnSyncReturns<string> {
  // SWUpdate keeps its sockets there: another one may run.
  const env = { ...process.env, TMPDIR: folder }
  return spawnSync(program, args, { cwd: folder, encoding: 'utf8', env })
}

const trust = (key: string) => ['-CAfile', `${key}.image.crt`]
const openssl = (signature: string, ...more: string[]) =>
  run(
    'openssl',
    'cms',
    '-verify',
    '-inform',
    'DER',
    '-binary',
    '-in',
    signature,
    '-out',
    'said',
    ...more,
  )

/** Takes apart what devices take apart. */
async function extract(swu: string): Promise<void> {
  const bytes = await readFile(at(swu))
  for (const { name, position, size } of (await readSwu(bytesSource(bytes))).entries) {
    await writeFile(at(name), bytes.subarray(position, position + size))
  }
}

test('openssl verifies what signs a .swu, by that key and no other', async () => {
  expect(await sign('unsigned.swu', 'a.swu')).toMatchObject({ format: 'swu', version: '2.0.1' })
  await extract('a.swu')
  const content = ['-content', 'sw-description']
  expect(openssl('sw-description.sig', ...content, ...trust('release-1'))).toMatchObject({
    status: 0,
  })
  expect(openssl('sw-description.sig', ...content, ...trust('stranger')).status).not.toBe(0)
  expect(
    openssl('sw-description.sig', '-content', 'payload.bin', ...trust('release-1')).status,
  ).not.toBe(0)
  // What was signed is signed anew, once.
  await sign('a.swu', 'b.swu', 'stranger')
  await extract('b.swu')
  expect(openssl('sw-description.sig', ...content, ...trust('stranger'))).toMatchObject({
    status: 0,
  })
  expect((await readSwu(bytesSource(await readFile(at('b.swu'))))).entries).toHaveLength(3)
})

const noSwupdate = existsSync('/usr/bin/swupdate') ? '' : ' (swupdate is not installed)'
test.skipIf(noSwupdate !== '')(`SWUpdate itself takes it${noSwupdate}`, async () => {
  await sign('unsigned.swu', 'c.swu')
  const verdict = (key: string): string => {
    const how = ['-c', '-i', 'c.swu', '-k', `${key}.image.crt`, '-H', 'gate-2:gate-2-r3']
    // Another one on the same machine can be in its way: whoever said nothing about the signature is asked again.
    for (let n = 0; n < 10; n++) {
      const { status, stdout, stderr } = run('swupdate', ...how)
      if (status === 0) return 'taken'
      if (/Authentication of all signatures failed/.test(stdout + stderr)) return 'refused'
    }
    return 'no verdict'
  }
  expect(verdict('release-1')).toBe('taken')
  expect(verdict('stranger')).toBe('refused')
})

test('openssl verifies what signs a bundle, plain and verity', async () => {
  for (const name of ['plain-gzip', 'verity-gzip']) {
    expect(await sign(`${name}.raucb`, 'd.raucb')).toMatchObject({ format: 'rauc' })
    const [before, after] = await Promise.all([
      readFile(at(`${name}.raucb`)),
      readFile(at('d.raucb')),
    ])
    const length = Number(after.readBigUInt64BE(after.length - 8))
    const content = after.subarray(0, after.length - 8 - length)
    expect(before.subarray(0, content.length).equals(content), name).toBe(true)
    await writeFile(at('cms'), after.subarray(content.length, after.length - 8))
    await writeFile(at('content'), content)
    const detached = name.startsWith('plain') ? ['-content', 'content'] : []
    expect(openssl('cms', ...detached, ...trust('release-1')), name).toMatchObject({ status: 0 })
    expect(openssl('cms', ...detached, ...trust('stranger')).status, name).not.toBe(0)
  }
})

const noRauc = ['rauc', 'unsquashfs'].some((one) => run(one, '--version').error)
  ? ' (rauc or unsquashfs is not installed)'
  : ''
test.skipIf(noRauc !== '')(`RAUC itself takes both${noRauc}`, async () => {
  for (const name of ['plain-gzip', 'verity-gzip']) {
    await sign(`${name}.raucb`, 'e.raucb')
    const info = (key: string) => run('rauc', 'info', `--keyring=${key}.image.crt`, 'e.raucb')
    expect(info('release-1'), name).toMatchObject({ status: 0 })
    expect(info('stranger').status, name).not.toBe(0)
  }
})

test('nothing is signed that is not confirmed, or that no device could install', async () => {
  const key = ['--keys', folder, '--key', 'release-1', '--out', at('no.swu')]
  const signing = async (file: string, version: string) =>
    await fleetseal('sign', 'image', at(file), ...key, '--confirm', version)
  await expect(signing('unsigned.swu', '2.0.0')).rejects.toThrow('not-confirmed')
  const other = Buffer.alloc(20_000, 8)
  const broken = cpio([
    { name: 'sw-description', bytes: swDescription('2.0.1', payload, '/tmp/x') },
    { name: 'payload.bin', bytes: other },
  ])
  await writeFile(at('broken.swu'), broken)
  await expect(signing('broken.swu', '2.0.1')).rejects.toThrow('has not the SHA-256')
  await writeFile(at('none.swu'), imageFor('zephyr', '2.0.1'))
  await expect(signing('none.swu', '2.0.1')).rejects.toThrow('no cpio archive')
  expect(existsSync(at('no.swu'))).toBe(false)
  await expect(fleetseal('sign', 'image-key', 'release-1', '--keys', folder)).rejects.toThrow(
    'already',
  )
})

const why = noToken === undefined ? '' : ` (${noToken})`
test.skipIf(noToken !== undefined)(`a key in a token signs as well${why}`, async () => {
  using token = makeToken()
  const tokens = { modulePath: token.modulePath }
  const passphrase = () => tokenPin
  const key = { keysDir: folder, name: 'token-1', tokens, passphrase }
  await newImageKey({ ...key, tokenUri: token.uri('images') })
  await signImage({
    file: at('unsigned.swu'),
    out: at('f.swu'),
    key: async () => await openImageKey(key),
    confirm: (_, version) => version,
    now: new Date(),
  })
  await extract('f.swu')
  const content = ['-content', 'sw-description']
  expect(openssl('sw-description.sig', ...content, ...trust('token-1'))).toMatchObject({
    status: 0,
  })
})
