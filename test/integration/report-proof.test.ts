import { createPublicKey, type KeyObject } from 'node:crypto'

import { CompactSign } from 'jose'
import { afterAll, beforeAll, expect, test } from 'vitest'

import { generatePrivateKey } from '../../pki/keys.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import type { Report } from '../../server/protocol/messages.ts'
import { proofType } from '../../server/protocol/report-proof.ts'
import { startApi, type TestApi } from '../support/api.ts'
import { createTestDatabase } from '../support/database.ts'
import { eventsOf, givenOne } from '../support/rollout-given.ts'
import { receive, report } from '../support/rollout-messages.ts'
import { rolloutWorld, type RolloutWorld } from '../support/rollout-world.ts'

let handle: DatabaseHandle
let world: RolloutWorld
let api: TestApi
beforeAll(async () => {
  handle = await createTestDatabase()
  world = rolloutWorld(handle)
  api = await startApi(handle)
})
afterAll(async () => {
  await api[Symbol.asyncDispose]()
  await handle[Symbol.asyncDispose]()
})

const key = generatePrivateKey('P-256')
const fingerprint = 'cd'.repeat(32)

async function finalReport(deploymentId: string, signer: KeyObject): Promise<Report> {
  const said = { deploymentId, state: 'failed_final', code: 'hash', at: '2026-11-26T10:00:00Z' }
  const claims = { ...said, sha256: 'ab'.repeat(32), svn: 1, counter: 3 }
  const proof = await new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: 'ES256', typ: proofType })
    .sign(signer)
  return { ...said, state: 'failed_final', proof }
}

async function send(deviceId: string, body: Report): Promise<void> {
  const publicKey = createPublicKey(key.export({ format: 'pem', type: 'pkcs8' }))
  const peer = { deviceId, fingerprint, key: () => publicKey }
  await receive(world, 'report', [{ deviceId, body, peer }])
}

/** As `GET /deployments/:id` answers. */
async function shown(deploymentId: string) {
  const { body } = await api.call('GET', `/deployments/${deploymentId}`)
  return body as unknown as { history: { to: string; proof: unknown }[] }
}

test('the proof of a report is kept with its step and shown', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'downloading')
  const body = await finalReport(id, key)
  await send(device, body)
  expect(await row()).toMatchObject({ state: 'failed_final', code: 'hash' })
  const { history } = await shown(id)
  expect(history.at(-1)).toMatchObject({
    to: 'failed_final',
    proof: { jws: body.proof, certificate: fingerprint },
  })
  expect(history.slice(0, -1).map(({ proof }) => proof)).toEqual(history.slice(1).map(() => null))
})

test('a proof by another key is a security event, and the report is refused', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'downloading')
  await send(device, await finalReport(id, generatePrivateKey('P-256')))
  expect(await row()).toMatchObject({ state: 'downloading' })
  expect(await eventsOf(world, device)).toEqual(['report-proof-invalid warning'])
})

test('a proof that nobody has verified counts as wrong', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'downloading')
  await receive(world, 'report', [{ deviceId: device, body: await finalReport(id, key) }])
  expect(await row()).toMatchObject({ state: 'downloading' })
  expect(await eventsOf(world, device)).toEqual(['report-proof-invalid warning'])
})

test('a report without a proof is taken, and shown without', async () => {
  const { device, id, row } = await givenOne(world)
  await report(world, device, id, 'downloading')
  const { proof: _, ...bare } = await finalReport(id, key)
  await send(device, bare)
  expect(await row()).toMatchObject({ state: 'failed_final' })
  expect((await shown(id)).history.at(-1)).toMatchObject({ proof: null })
})
