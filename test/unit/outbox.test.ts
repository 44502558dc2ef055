import { describe, expect, test } from 'vitest'

import { eventsOfAudit } from '../../server/outbox/from-audit.ts'
import { eventsOfSecurity } from '../../server/outbox/from-events.ts'
import { type EventType, EventMessage, eventTypes } from '../../server/outbox/wire.ts'

const id = '01890000-0000-7000-8000-00000000000a'
const device = '01890000-0000-7000-8000-00000000000b'
const at = new Date('2030-01-01T00:00:00Z')
const told = (action: string, facts: object, subject = id) =>
  eventsOfAudit([{ at, action, subject, facts: { ...facts } }])

describe('what others are told of the audit log', () => {
  test.each<[EventType, string, object]>([
    ['device.registered', 'device.register', { serialNumber: 'S', name: 'n', groupId: null }],
    ['device.state-changed', 'device.revoke', { from: 'active', to: 'revoked', reason: 'stolen' }],
    ['group.state-changed', 'group.disable', { incidentId: id, reason: 'worm' }],
    ['group.state-changed', 'group.enable', { incidentId: id }],
    [
      'certificate.state-changed',
      'certificate.revoke',
      { from: 'issued', to: 'revoked', deviceId: device },
    ],
    ['rollout.state-changed', 'rollout.fail', { from: 'running', to: 'failed', reason: 'rule' }],
    ['rollout.state-changed', 'rollout.approve', { from: 'draft', to: 'approved' }],
    ['release.published', 'release.publish', { model: 'gate-2', metadataVersion: 3 }],
    ['release.withdrawn', 'release.withdraw', { from: 'published', to: 'withdrawn' }],
  ])('%s by %s', (type, action, facts) => {
    const [event, ...more] = told(action, facts)
    expect(more).toEqual([])
    expect(event?.type).toBe(type)
    check(event)
  })

  test('a first certificate is an enrolled device too; a renewal, and one of the server, is not', () => {
    const facts = {
      deviceId: device,
      fingerprint: 'ab',
      subject: 'CN=a',
      notAfter: at.toISOString(),
    }
    const types = (more: object) =>
      told('certificate.issue', { ...facts, ...more }).map((event) => {
        check(event)
        expect(event.deviceId).toBe(device)
        return event.type
      })
    expect(types({ kind: 'enroll' })).toEqual(['device.enrolled', 'certificate.issued'])
    expect(types({ kind: 'renew' })).toEqual(['certificate.issued'])
    expect(
      told('certificate.issue', { kind: 'ocsp-responder', notAfter: at.toISOString() }),
    ).toEqual([])
  })

  test.each([
    ['rollout.approve', { from: 'draft', to: 'draft' }],
    ['rollout.hold', { phase: 1 }],
    ['director.sign', {}],
    ['release.submit', { from: 'draft', to: 'submitted' }],
    ['api-key.create', { from: 'a', to: 'b' }],
    ['release.publish', { model: 4 }],
  ])('nothing of %s', (action, facts) => {
    expect(told(action, facts)).toEqual([])
  })
})

test('a security event is told, and an ending certificate under its own name too', () => {
  const raised = { id, source: 'server', severity: 'warning', deviceId: device } as const
  const plain = eventsOfSecurity(at, [{ ...raised, kind: 'false-success', facts: { a: 1 } }])
  const ending = eventsOfSecurity(at, [
    {
      ...raised,
      kind: 'certificate-not-renewed',
      facts: { certificateId: id, notAfter: at.toISOString() },
    },
  ])
  for (const event of [...plain, ...ending]) check(event)
  expect(plain.map(({ type }) => type)).toEqual(['security-event.raised'])
  expect(ending.map(({ type }) => type)).toEqual(['security-event.raised', 'certificate.expiring'])
})

test('tests and gaps come to an endpoint without being asked for', () => {
  expect(eventTypes).not.toContain('webhook.test')
  expect(eventTypes).not.toContain('webhook.gap')
  expect(eventTypes).toContain('device.enrolled')
})

function check(event: ReturnType<typeof told>[number] | undefined): void {
  const { type = 'webhook.test', deviceId = null, subject, data } = event ?? {}
  const message = { type, id, timestamp: at.toISOString(), deviceId, subject, data }
  expect(EventMessage(type).strict().parse(message)).toEqual(message)
}
