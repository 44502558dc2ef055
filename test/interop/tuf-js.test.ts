import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { Updater } from 'tuf-js'
import { afterEach, beforeEach, expect, test } from 'vitest'

import { World } from '../support/tuf-fixture.ts'
import { at, makeKeys, type Repository, sha256 } from '../support/tuf-repository.ts'

/** A stock TUF client, with its own clock, against the files our builders make (updates.md section 9). */
const path = 'fw/gate-2/2.4.1/main.bin'
const content = 'main 2.4.1'

let world: World
let server: Server
let directory: string

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'tuf-js-'))
  world = World.honest({ now: new Date(Math.floor(Date.now() / 1000) * 1000) })
  server = createServer((request, response) => {
    const [, repository, ...rest] = decodeURI(request.url ?? '').split('/')
    const name = rest.join('/')
    const files = repository === 'director' ? world.director.served() : world.image.served()
    const image = `fw/gate-2/2.4.1/${sha256(content)}.main.bin`
    const body = name === image ? content : files[name]
    response.writeHead(body === undefined ? 404 : 200).end(body)
  })
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve))
})

afterEach(async () => {
  await new Promise((resolve) => void server.close(resolve))
  rmSync(directory, { recursive: true })
})

function updaterOf(name: 'image' | 'director', { fresh = true } = {}): Updater {
  const repository: Repository = world[name]
  if (fresh) writeFileSync(join(directory, 'root.json'), repository.roots[0] ?? '')
  const { port } = server.address() as AddressInfo
  const base = `http://127.0.0.1:${port}/${name}`
  return new Updater({
    metadataDir: directory,
    metadataBaseUrl: base,
    targetDir: directory,
    targetBaseUrl: base,
    config: { fetchRetries: 0 },
  })
}

test('image repository: tuf-js finds the build through the delegation and downloads it', async () => {
  const updater = updaterOf('image')
  await updater.refresh()
  const target = await updater.getTargetInfo(path)
  expect(target).toMatchObject({ length: content.length, hashes: { sha256: sha256(content) } })
  expect(target?.custom).toEqual(world.builds[path]?.custom)
  if (target) await updater.downloadTarget(target)
  expect(await updater.getTargetInfo('fw/gate-2/9.9.9/main.bin')).toBeUndefined()
})

test('director: tuf-js reads it, with nonce, time, device and policy inside', async () => {
  const updater = updaterOf('director')
  await updater.refresh()
  expect(await updater.getTargetInfo(path)).toMatchObject({ path, length: content.length })
})

test('evaluation roots and a rotation of every online key', async () => {
  world = World.honest({ now: world.now, evaluation: true })
  for (const name of ['image', 'director'] as const) {
    const before = world[name].keys.root
    world[name].keys.root = makeKeys(3)
    world[name].keys.timestamp = makeKeys(1)
    world[name].keys.snapshot = makeKeys(1)
    world[name].publishRoot({ before: before.slice(0, 2) })
    world.publishFirmware()
    world.publishWanted()
    await expect(updaterOf(name).refresh()).resolves.toBeUndefined()
    rmSync(directory, { recursive: true })
    directory = mkdtempSync(join(tmpdir(), 'tuf-js-'))
  }
})

test('a new version is taken over a held one', async () => {
  await updaterOf('image').getTargetInfo(path)
  world.addBuild({ version: '2.4.2', build: 413 })
  world.publishFirmware()
  const updater = updaterOf('image', { fresh: false })
  expect(await updater.getTargetInfo('fw/gate-2/2.4.2/main.bin')).toBeDefined()
})

test('what we refuse, tuf-js refuses: one of two release signatures, an older snapshot, an expired file', async () => {
  world.publishFirmware({ keys: world.release.slice(0, 1) })
  await expect(updaterOf('image').getTargetInfo(path)).rejects.toThrow()
  world.publishFirmware()
  await updaterOf('image').refresh()
  world.publishSnapshot({ change: at(['version'], 1) })
  await expect(updaterOf('image', { fresh: false }).refresh()).rejects.toThrow()
  world.publishWanted({ change: at(['expires'], '2020-01-01T00:00:00Z') })
  rmSync(directory, { recursive: true })
  directory = mkdtempSync(join(tmpdir(), 'tuf-js-'))
  await expect(updaterOf('director').refresh()).rejects.toThrow()
})
