import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { fleetCommand } from '../../device-sim/commands/fleet.ts'
import { hardwareId, model, openSite, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

let server: RunningServer
let site: Site
let args: string[]

beforeAll(async () => {
  server = await startServer()
  site = await openSite(server)
  const file = (name: string) => join(server.dataDir, '..', name)
  await writeFile(file('image.json'), site.imageRoot)
  await writeFile(file('director.json'), site.directorRoot)
  const given = {
    dir: file('fleet'),
    ca: server.ca,
    'image-root': file('image.json'),
    'director-root': file('director.json'),
    profile: site.profile,
    token: site.token,
    model,
    'hardware-id': hardwareId,
    'device-port': String(server.ports.device),
    'mqtt-port': String(server.ports.mqtt),
  }
  args = Object.entries(given).flatMap(([name, value]) => [`--${name}`, value])
  args.push('--allow-evaluation')
})
afterAll(async () => {
  await server[Symbol.asyncDispose]()
})

/** Runs it until all are up. */
async function fleet(more: string[]): Promise<string[]> {
  const lines: string[] = []
  const { promise: stopped, resolve: stop } = Promise.withResolvers<void>()
  const print = (line: string) => {
    lines.push(line)
    if (line.includes('are up')) stop()
  }
  await fleetCommand({ args: [...args, ...more], print, stopped })
  return lines
}

test('devices are made once and run; a second time they are the same ones', async () => {
  expect(await fleet(['--count', '3'])).toContain('3 devices are up; Ctrl-C stops them')
  expect(await fleet(['--count', '3', '--accept', '--failing', '1'])).toContain(
    '3 devices are up; Ctrl-C stops them',
  )
  const devices = await site.operator.fleetseal<{ serialNumber: string }[]>('device', 'list')
  expect(devices.map(({ serialNumber }) => serialNumber).toSorted()).toEqual([
    'SIM-000001',
    'SIM-000002',
    'SIM-000003',
  ])
}, 120_000)

test('what is wrong on the command line is refused before anything is made', async () => {
  await expect(fleet(['--count', 'many'])).rejects.toThrow('--count many is not a whole number')
  await expect(fleet(['--count', '0'])).rejects.toThrow('1 to 10000 devices')
  await expect(fleet(['--serial', 'X'])).rejects.toThrow("Unknown option '--serial'")
})
