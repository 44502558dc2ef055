import { buildCsr } from '../../pki/csr/build.ts'
import { parseCsr } from '../../pki/csr/parse.ts'
import { generatePrivateKey } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { openDirectoryStorage } from '../../server/artifacts/directory-storage.ts'
import { bootstrapAuthorities } from '../../server/authorities/bootstrap.ts'
import { loadAuthorities } from '../../server/authorities/load.ts'
import type { DatabaseHandle } from '../../server/db/client.ts'
import { enroll } from '../../server/enrollment/enroll.ts'
import { hashToken } from '../../server/enrollment/service.ts'
import { findProfile, findTokenByHash } from '../../server/enrollment/store.ts'
import { newId } from '../../server/ids.ts'
import { meetDevices } from '../../server/rollouts/meet.ts'
import { type Reply, startApi, type TestApi } from './api.ts'
import { givenRelease, installedBuild } from './rollout-world.ts'

/** A name for each thing of one side, as path parameters and bodies call it: ids, and what people call it. */
export type Side = Readonly<Record<string, string>>

export interface AccessWorld extends AsyncDisposable {
  api: TestApi
  handle: DatabaseHandle
  /** Of what belongs to no device. */
  shared: Side
  /** A group with one of everything that a device can have, all named after `name`. */
  givenSide: (name: string) => Promise<Side>
}

/** The operators' app with everything behind it, and things that two groups can have of their own. */
export async function createAccessWorld(handle: DatabaseHandle): Promise<AccessWorld> {
  const api = await startApi(handle)
  api.ctx.config = { ...api.ctx.config, targetTokens: true }
  await bootstrapAuthorities(api.ctx)
  api.ctx.authorities = await loadAuthorities(api.ctx)
  api.ctx.storage = await openDirectoryStorage(`${api.ctx.config.dataDir}/artifacts`)
  await must(api, 'POST', '/authorities', { purpose: 'claims' })
  const release = await givenRelease({ db: handle.db, clock: api.ctx.clock })
  const product = { profile: 'swupdate', component: 'main', versionAttribute: null }
  await must(api, 'PUT', '/models/gate-2/ddi', product)
  const shared = { releaseId: release.id, model: 'gate-2' }
  return {
    api,
    handle,
    shared,
    givenSide: async (name) => await givenSide(api, handle, name, release.id),
    [Symbol.asyncDispose]: async () => {
      await api.ctx.storage[Symbol.asyncDispose]()
      await api[Symbol.asyncDispose]()
    },
  }
}

/** By the administrator of all. */
export async function must(
  api: TestApi,
  method: string,
  path: string,
  body?: unknown,
): Promise<Reply['body']> {
  const reply = await api.call(method, path, body)
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.status} ${reply.text}`)
  return reply.body
}

async function givenSide(
  api: TestApi,
  handle: DatabaseHandle,
  name: string,
  releaseId: string,
): Promise<Side> {
  const group = await must(api, 'POST', '/groups', { name: `${name}-group` })
  const groupId = String(group['id'])
  const enrollment = await givenEnrollment(api, handle, { name, groupId })
  const { deviceId = '' } = enrollment
  const updates = await givenUpdates(api, handle, { name, groupId, deviceId, releaseId })
  await must(api, 'PUT', `/groups/${groupId}/window`, always)
  await must(api, 'PUT', `/devices/${deviceId}/window`, always)
  await must(api, 'PUT', `/devices/${deviceId}/ddi`, { controllerId: `${name}-controller` })
  const token = { reason: `${name} is old`, despiteCertificate: true }
  await must(api, 'POST', `/devices/${deviceId}/ddi/token`, token)
  await givenSettings(api, handle, { name, deviceId })
  await handle.db
    .insertInto('security_event')
    .values({
      id: newId(api.ctx.clock.now()),
      at: api.ctx.clock.now(),
      source: 'server',
      kind: `${name}-kind`,
      severity: 'warning',
      device_id: deviceId,
      facts: JSON.stringify({ about: name }),
    })
    .execute()
  const approvalId = await givenApproval(api, { name, groupId })
  return { ...enrollment, ...updates, groupId, name, kind: `${name}-kind`, approvalId }
}

async function givenSettings(
  { ctx }: TestApi,
  { db }: DatabaseHandle,
  { name, deviceId }: { name: string; deviceId: string },
): Promise<void> {
  await db
    .insertInto('device_settings')
    .values({
      id: newId(ctx.clock.now()),
      device_id: deviceId,
      revision: 1,
      settings: JSON.stringify({ name: `${name}-settings` }),
      sha256: '00'.repeat(32),
      size: 10,
      state: 'wanted',
      commit_nonce: null,
      code: null,
      detail: null,
      created_by: 'key:test',
      created_at: ctx.clock.now(),
      changed_at: ctx.clock.now(),
    })
    .execute()
}

/** Somebody wants to cut the group off, and others have to agree. */
async function givenApproval(
  api: TestApi,
  { name, groupId }: { name: string; groupId: string },
): Promise<string> {
  await must(api, 'PUT', '/approval-policies/group-disable', { needed: 1 })
  const body = { action: 'disable', reason: `${name} is stolen` }
  const reply = await api.call('POST', `/groups/${groupId}/actions`, body)
  // By hand: to lower it would take others too.
  await api.ctx.db.deleteFrom('approval_policy').where('kind', '=', 'group-disable').execute()
  return String(reply.body['approvalId'])
}

/** Opens every night, and now. */
export const always = { cron: '0 0 * * *', duration: 'P1D', zone: 'UTC' }

async function givenEnrollment(
  api: TestApi,
  handle: DatabaseHandle,
  { name, groupId }: { name: string; groupId: string },
): Promise<Side> {
  const made = await must(api, 'POST', '/enrollment-profiles', {
    name: `${name}-line`,
    groupId,
    auth: { type: 'claim' },
    registration: 'just-in-time',
  })
  const profileId = String(made['id'])
  const tokens = await must(api, 'POST', '/enrollment-profiles', {
    name: `${name}-tokens`,
    groupId,
    auth: { type: 'token' },
    registration: 'just-in-time',
  })
  const path = `/enrollment-profiles/${String(tokens['id'])}`
  const token = await must(api, 'POST', `${path}/tokens`, {})
  const serialNumber = `${name}-serial`
  await enrollBy(api, String(token['token']), requestOf(serialNumber))
  const claim = { csr: toPem('CERTIFICATE REQUEST', requestOf(`${name}-claim`)), maxUses: 3 }
  await must(api, 'POST', `/enrollment-profiles/${profileId}/claims`, claim)
  await must(api, 'PUT', `${path}/scep`, { enabled: true })
  const challenge = await must(api, 'POST', `${path}/scep-challenges`, {
    serialNumber: `${name}-scep`,
  })
  await must(api, 'PUT', `${path}/ddi`, { model: 'gate-2', hardwareIds: ['rev-a'] })
  const batch = await sendCsv(api, `${path}/batches`, `csr\n"${name} is no request"\n`)
  const { device, certificate } = await enrolled(handle, serialNumber)
  const request = newId(api.ctx.clock.now())
  await handle.db
    .insertInto('enrollment_request')
    .values({
      id: request,
      profile_id: String(tokens['id']),
      token_id: String(token['id']),
      request_hash: Buffer.alloc(32, name),
      serial_number: `${name}-waiting`,
      key_algorithm: 'P-256',
      spki_sha256: Buffer.alloc(32, name),
      state: 'pending',
      created_at: api.ctx.clock.now(),
      last_seen_at: api.ctx.clock.now(),
    })
    .execute()
  return {
    claimProfileId: profileId,
    profileId: String(tokens['id']),
    profileName: `${name}-tokens`,
    tokenId: String(token['id']),
    challengeId: String(challenge['id']),
    batchId: String(batch['id']),
    requestId: request,
    serialNumber,
    deviceId: device,
    certificateId: certificate,
  }
}

/** A request for a certificate, with a key of its own that nobody keeps. */
export function requestOf(commonName: string): Buffer {
  return buildCsr(generatePrivateKey('P-256'), { subject: encodeName({ commonName }) })
}

async function enrollBy({ ctx }: TestApi, secret: string, csr: Buffer): Promise<void> {
  const token = await findTokenByHash(ctx.db, hashToken(secret))
  const profile = token && (await findProfile(ctx.db, { id: token.profile_id }))
  if (!token || !profile) throw new Error('no such token')
  await enroll(ctx, { token, profile, csr: parseCsr(csr) })
}

async function enrolled({ db }: DatabaseHandle, serialNumber: string) {
  const row = await db
    .updateTable('device')
    .set({
      model: 'gate-2',
      hardware_ids: ['rev-a'],
      installed: JSON.stringify([installedBuild(1)]),
      managed: true,
      managed_agreed: true,
    })
    .where('serial_number', '=', serialNumber)
    .returning('id')
    .executeTakeFirstOrThrow()
  const { id } = await db
    .selectFrom('certificate')
    .select('id')
    .where('device_id', '=', row.id)
    .executeTakeFirstOrThrow()
  return { device: row.id, certificate: id }
}

async function givenUpdates(
  api: TestApi,
  handle: DatabaseHandle,
  given: { name: string; groupId: string; deviceId: string; releaseId: string },
): Promise<Side> {
  const { name, groupId, deviceId, releaseId } = given
  const now = api.ctx.clock.now()
  const rollout = await must(api, 'POST', '/rollouts', {
    name: `${name}-rollout`,
    releaseId,
    groupId,
    phases: [{ percent: 100 }],
  })
  const rolloutId = String(rollout['id'])
  await must(api, 'POST', `/rollouts/${rolloutId}/actions`, { action: 'start' })
  await meetDevices(api.ctx, [deviceId])
  const deployment = await handle.db
    .selectFrom('deployment')
    .select('id')
    .where('device_id', '=', deviceId)
    .executeTakeFirstOrThrow()
  const overrideId = newId(now)
  await handle.db
    .insertInto('update_override')
    .values({
      id: overrideId,
      deployment_id: deployment.id,
      reason: `${name} must`,
      until: new Date(now.getTime() + 86_400_000),
      created_by: 'key:test',
      author_voice: 'key:test',
      created_at: now,
    })
    .execute()
  await handle.db
    .insertInto('choice_event')
    .values({
      device_id: deviceId,
      deployment_id: deployment.id,
      choice: 'postpone',
      outcome: `${name}-outcome`,
      at: now,
    })
    .execute()
  const draft = await must(api, 'POST', '/rollouts', {
    name: `${name}-draft`,
    releaseId,
    groupId,
    phases: [{ percent: 10 }],
  })
  return { rolloutId, draftId: String(draft['id']), deploymentId: deployment.id, overrideId }
}

/** By the administrator of all, unless another key is given. */
export async function sendCsv(
  api: TestApi,
  path: string,
  text: string,
  key = api.keys.admin.secret,
): Promise<Reply['body']> {
  const reply = await api.call('POST', path, text, { key, headers: { 'Content-Type': 'text/csv' } })
  if (reply.status >= 300) throw new Error(`${path}: ${reply.status} ${reply.text}`)
  return reply.body
}
