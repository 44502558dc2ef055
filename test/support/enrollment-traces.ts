import { expect } from 'vitest'

import { parseCertificate } from '../../pki/x509/parse.ts'
import type { Db } from '../../server/db/client.ts'

async function rowsOf(db: Db, deviceId: string) {
  const certificates = await db
    .selectFrom('certificate')
    .selectAll()
    .where('device_id', '=', deviceId)
    .execute()
  return {
    device: await db
      .selectFrom('device')
      .selectAll()
      .where('id', '=', deviceId)
      .executeTakeFirstOrThrow(),
    certificates,
    audits: await db
      .selectFrom('audit_event')
      .selectAll()
      .where('subject', '=', certificates[0]?.id ?? '')
      .execute(),
    changes: await db
      .selectFrom('identity_change')
      .select(['group_id', 'at'])
      .where('device_id', '=', deviceId)
      .execute(),
    groups: await db
      .selectFrom('device_group_member')
      .select('group_id')
      .where('device_id', '=', deviceId)
      .execute(),
  }
}

/** Everything in the database about a device, without what differs between any two. */
export async function tracesOf(db: Db, der: Buffer) {
  const { subjectAltName, serial, notBefore, notAfter, extensions } = parseCertificate(der)
  const [name] = subjectAltName ?? []
  const deviceId = name?.type === 'uri' ? name.value.slice('urn:uuid:'.length) : ''
  const { device, certificates, audits, changes, groups } = await rowsOf(db, deviceId)
  const [certificate] = certificates
  expect(certificates).toHaveLength(1)
  expect(certificate?.der).toEqual(der)
  expect(certificate?.serial).toEqual(serial)
  expect([certificate?.not_before, certificate?.not_after]).toEqual([notBefore, notAfter])
  expect(audits[0]?.facts).toMatchObject({ deviceId, fingerprint: certificate?.fingerprint })
  const { id: _i, name: _n, serial_number: _s, ...deviceRow } = device
  return {
    device: deviceRow,
    certificate: {
      authority: certificate?.authority_id,
      kind: certificate?.kind,
      state: certificate?.state,
      replaces: certificate?.replaces_id,
      token: certificate?.enrollment_token_id,
      revocation: [certificate?.revocation_rev, certificate?.revoked_at, certificate?.held_state],
      at: certificate?.created_at,
      extensions: [...extensions.keys()],
    },
    audits: audits.map(({ at, actor, action, facts, request_id }) => {
      const {
        deviceId: _d,
        fingerprint: _f,
        subject: _t,
        ...rest
      } = facts as Record<string, string>
      return { at, actor, action, request_id, facts: rest }
    }),
    changes,
    groups,
  }
}
