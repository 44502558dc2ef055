import { once } from 'node:events'
import { connect, type Socket } from 'node:net'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { enrollDevices } from '../../bench/fleet.ts'
import { Load } from '../../bench/load/driver.ts'
import { operatorOf } from '../support/operator.ts'
import { probe } from '../support/probe.ts'
import { type RunningServer, startServer } from '../support/server.ts'

// broker.md tests 3 and 48, small: `npm run bench -- storm` is the whole.
const devices = 150
const rate = 50
const timeoutMs = 180_000

let server: RunningServer
let load: Load
beforeAll(async () => {
  server = await startServer({ FLEETSEAL_CONNECT_RATE: String(rate) })
  const { fleetseal } = operatorOf(server)
  await fleetseal('group', 'create', 'lab')
  await fleetseal('enrollment', 'create', 'line-1', '--group', 'lab')
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'line-1')
  const made = await enrollDevices(server, { profile: 'line-1', token }, { count: devices })
  load = new Load()
  await load.order('use', made)
}, timeoutMs)
afterAll(async () => {
  await load[Symbol.asyncDispose]()
  await server[Symbol.asyncDispose]()
})

async function metric(name: string): Promise<number> {
  const { body } = await probe(server, '/metrics')
  const [, value] = new RegExp(`^${name} (\\d+)$`, 'm').exec(String(body)) ?? []
  return Number(value)
}

test(
  'all of a fleet that connects at once get in, no faster than the rate and never more at once than the bound',
  async () => {
    let isOver = false
    const began = performance.now()
    const order = { port: server.ports.mqtt, devices, parallel: devices }
    const holding = load.order('hold', order).finally(() => (isOver = true))
    const inProgress: number[] = []
    while (!isOver) inProgress.push(await metric('fleetseal_handshakes_in_progress'))
    expect(await holding).toMatchObject({ connected: devices, refused: {} })
    // A second's worth may begin at once.
    expect(performance.now() - began).toBeGreaterThan(((devices - rate) / rate) * 1_000 * 0.95)
    expect(Math.max(...inProgress)).toBeLessThanOrEqual(64)
    await expect.poll(async () => await metric('fleetseal_handshakes_in_progress')).toBe(0)
    expect(await metric('fleetseal_connections_waiting')).toBe(0)
    await load.order('release', {})
  },
  timeoutMs,
)

test(
  'an address that opens hundreds of connections and says nothing does not keep another out',
  async () => {
    const silent = Array.from({ length: 300 }, () => flood())
    await Promise.all(silent.map(async (socket) => await once(socket, 'connect')))
    await expect
      .poll(async () => await metric('fleetseal_connections_waiting'), { timeout: 60_000 })
      .toBeGreaterThan(50)
    const order = { port: server.ports.mqtt, devices: 5, parallel: 5 }
    expect(await load.order('hold', order)).toMatchObject({ connected: 5, refused: {} })
    for (const socket of silent) socket.destroy()
    // Theirs is found when their turn comes, or when they have waited too long.
    await expect
      .poll(async () => await metric('fleetseal_connections_waiting'), { timeout: 60_000 })
      .toBe(0)
  },
  timeoutMs,
)

function flood(): Socket {
  const socket = connect({
    port: server.ports.mqtt,
    host: '127.0.0.1',
    localAddress: '127.0.99.1',
  })
  socket.on('error', () => {})
  return socket
}
