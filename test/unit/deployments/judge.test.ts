import { expect, test } from 'vitest'

import { judgeChoice, postponeLimitsOf } from '../../../server/deployments/judge-choice.ts'
import { judgeReport, type ReportFacts } from '../../../server/deployments/judge-report.ts'
import type { Deployment } from '../../../server/deployments/store.ts'
import type { DeploymentState } from '../../../server/protocol/deployment.ts'
import type { Report } from '../../../server/protocol/messages.ts'

const now = new Date('2026-11-26T10:00:00Z')
const newNonce = 'ab'.repeat(16)
const image = '11'.repeat(32)
const given = { now, newNonce }

function deployment(state: DeploymentState, more: Partial<Deployment> = {}): Deployment {
  return {
    id: 'd1',
    rollout_id: 'r1',
    device_id: 'x',
    release_id: 'l1',
    component: 'main',
    phase_no: 1,
    is_step: false,
    state,
    rev: 3,
    attempts: 0,
    progress: null,
    code: null,
    detail: null,
    commit_nonce: null,
    from_build: null,
    first_offered_at: null,
    postponed_until: null,
    postpone_count: 0,
    created_at: now,
    changed_at: now,
    ...more,
  }
}

test.each([
  ['net', 'failed'],
  ['declined', 'failed_final'],
  ['incompatible', 'failed_final'],
  ['hash', 'failed_final'],
])('a try that failed with %s leaves the deployment %s', (code, state) => {
  const { after } = judgeReport(
    deployment('downloading'),
    { history: [], artifactSha256: image, installedSha256: null, busy: false },
    {
      deploymentId: '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8',
      state: 'failed',
      at: now.toISOString(),
      code,
    },
    given,
  )
  expect(after).toMatchObject({ state, attempts: 1 })
})

const limitsOf = (
  release_class: 'security' | 'feature' | 'config',
  release_advisory: unknown = null,
) =>
  postponeLimitsOf({
    release_class,
    release_advisory,
    rollout_policy: {},
    model_policy: {},
    managed: false,
  })
const facts: ReportFacts = {
  history: [],
  artifactSha256: image,
  installedSha256: null,
  busy: false,
}
const report = (state: DeploymentState, more: Partial<Report> = {}): Report => ({
  deploymentId: '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8',
  state,
  at: now.toISOString(),
  ...more,
})

const testing = deployment('testing', { commit_nonce: newNonce })
const proof = { commitNonce: newNonce, sha256: image }
const seen = { ...facts, installedSha256: image }

test('success: counts with the nonce, the image, and a hello that shows it', () => {
  const judged = judgeReport(testing, seen, report('succeeded', proof), given)
  expect(judged).toMatchObject({
    changed: true,
    after: { state: 'succeeded' },
    sendCommit: false,
  })
  expect(judged.event).toBeUndefined()
})

test.each([
  ['no nonce', seen, { sha256: image }, testing],
  ['another nonce', seen, { ...proof, commitNonce: 'cd'.repeat(16) }, testing],
  ['no image', seen, { commitNonce: newNonce }, testing],
  ['another image', seen, { ...proof, sha256: '22'.repeat(32) }, testing],
  ['no hello since', facts, proof, testing],
  ['a hello with the old image', { ...facts, installedSha256: '22'.repeat(32) }, proof, testing],
  ['a nonce that was never given', seen, proof, deployment('testing')],
])('success: stays testing with %s', (_what, known, claim, before) => {
  const judged = judgeReport(before, known, report('succeeded', claim), given)
  expect(judged).toMatchObject({
    changed: false,
    // With the nonce in hand it would say the same again at once, and again.
    sendCommit: !('commitNonce' in claim && claim.commitNonce === before.commit_nonce),
    event: { kind: 'false-success' },
  })
  expect(judged.after.state).toBe('testing')
})

test('success: claimed out of the blue becomes testing, and the device is asked for proof', () => {
  const judged = judgeReport(deployment('installing'), seen, report('succeeded', proof), given)
  expect(judged.after).toMatchObject({ state: 'testing', commit_nonce: newNonce })
  expect(judged.steps.map((step) => step.to_state)).toEqual(['installed', 'rebooting', 'testing'])
  expect(judged).toMatchObject({ sendCommit: true, event: { kind: 'false-success' } })
})

test('success: of a lost one needs the same proof', () => {
  const lost = deployment('lost', { commit_nonce: newNonce })
  expect(judgeReport(lost, seen, report('succeeded', proof), given).after.state).toBe('succeeded')
  expect(judgeReport(lost, facts, report('succeeded', proof), given).after.state).toBe('testing')
})

test('failure: is tried again four times, then final', () => {
  for (const attempts of [0, 1, 2, 3, 4]) {
    const before = deployment('downloading', { attempts })
    const { after, steps } = judgeReport(before, facts, report('failed', { code: 'net' }), given)
    expect(after).toMatchObject({ attempts: attempts + 1, code: 'net' })
    expect(after.state).toBe(attempts === 4 ? 'failed_final' : 'failed')
    expect(steps).toHaveLength(attempts === 4 ? 2 : 1)
  }
})

test.each(['hash', 'endless-data', 'rollback'])(
  'with the attack code %s is final at once',
  (code) => {
    const judged = judgeReport(deployment('downloading'), facts, report('failed', { code }), given)
    expect(judged.after.state).toBe('failed_final')
    expect(judged.event).toMatchObject({ kind: 'update-refused', source: 'device' })
  },
)

test('failure: a refusal of the bundle ends it, and is a security event', () => {
  const refusal = report('failed_final', {
    code: 'wrong-device',
    detail: 'x\u0000\u001b[31m\ud800',
  })
  const judged = judgeReport(deployment('queued'), facts, refusal, given)
  expect(judged.after).toMatchObject({
    state: 'failed_final',
    code: 'wrong-device',
    detail: 'x  [31m\ufffd',
  })
  expect(judged.event?.kind).toBe('update-refused')
})

test('failure: for want of space is no security event', () => {
  const judged = judgeReport(
    deployment('verified'),
    facts,
    report('failed', { code: 'no-space' }),
    given,
  )
  expect(judged.event).toBeUndefined()
})

const history = [{ to_state: 'failed' as const, reported_at: now }]

test('reports that come twice, late or wrong: the same failure is counted once', () => {
  const before = deployment('downloading', { attempts: 1 })
  expect(judgeReport(before, { ...facts, history }, report('failed'), given).changed).toBe(false)
  const later = report('failed', { at: '2026-11-26T10:00:01Z' })
  expect(judgeReport(before, { ...facts, history }, later, given).after.attempts).toBe(2)
})

test('reports that come twice, late or wrong: a late one changes nothing and is no offence', () => {
  const known = { ...facts, history: [{ to_state: 'offered' as const, reported_at: null }] }
  const judged = judgeReport(deployment('verified'), known, report('offered'), given)
  expect(judged).toMatchObject({ changed: false, steps: [] })
  expect(judged.event).toBeUndefined()
})

test.each(['cancelled', 'lost', 'queued', 'superseded', 'expired', 'postponed'] as const)(
  'a device cannot say %s',
  (state) => {
    const judged = judgeReport(deployment('downloading'), facts, report(state), given)
    expect(judged).toMatchObject({
      changed: false,
      event: { kind: 'illegal-report', severity: 'warning' },
    })
  },
)

test('reports that come twice, late or wrong: a word about one that was taken back is only worth a note', () => {
  const judged = judgeReport(deployment('cancelled'), facts, report('downloading'), given)
  expect(judged).toMatchObject({
    changed: false,
    event: { kind: 'illegal-report', severity: 'info' },
  })
})

test('reports that come twice, late or wrong: a lost one is not revived beside another that is open', () => {
  const busy = { ...facts, busy: true }
  expect(judgeReport(deployment('lost'), busy, report('downloading'), given).changed).toBe(false)
  expect(judgeReport(deployment('lost'), facts, report('downloading'), given).changed).toBe(true)
  expect(judgeReport(deployment('lost'), busy, report('rolled_back'), given).changed).toBe(true)
})

test('reports that come twice, late or wrong: progress is kept, but is no history', () => {
  const judged = judgeReport(
    deployment('downloading'),
    facts,
    report('downloading', { progress: 40 }),
    given,
  )
  expect(judged).toMatchObject({ changed: true, steps: [], after: { progress: 40 } })
})

test('reports that come twice, late or wrong: testing again asks for the nonce again, and does not change it', () => {
  const before = deployment('testing', { commit_nonce: 'cd'.repeat(16) })
  const judged = judgeReport(before, facts, report('testing'), given)
  expect(judged).toMatchObject({ changed: false, sendCommit: true })
  expect(judged.after.commit_nonce).toBe('cd'.repeat(16))
})

test('reports that come twice, late or wrong: the first offer starts the clock, once', () => {
  const first = judgeReport(deployment('queued'), facts, report('accepted'), given)
  expect(first.after.first_offered_at).toEqual(now)
  const earlier = new Date('2026-11-20T00:00:00Z')
  const before = deployment('postponed', { first_offered_at: earlier })
  expect(judgeReport(before, facts, report('offered'), given).after.first_offered_at).toEqual(
    earlier,
  )
})

test('reports that come twice, late or wrong: a clock that was never set is not believed', () => {
  const judged = judgeReport(
    deployment('queued'),
    facts,
    report('offered', { at: '0000-01-01T00:00:00Z' }),
    given,
  )
  expect(judged.steps).toMatchObject([{ to_state: 'offered', reported_at: null }])
})

const hours = (n: number) => new Date(now.getTime() + n * 3_600_000)
const offered = (more: Partial<Deployment> = {}) =>
  deployment('offered', { first_offered_at: now, ...more })
const postpone = (until: Date | undefined, before: Deployment, limits = limitsOf('security')) =>
  judgeChoice(
    before,
    limits,
    { choice: 'postpone', ...(until ? { until: until.toISOString() } : {}) },
    now,
  )

test('postponing: within the limits', () => {
  const { after, outcome, steps } = postpone(hours(72), offered())
  expect(outcome).toBe('applied')
  expect(after).toMatchObject({
    state: 'postponed',
    postpone_count: 1,
    postponed_until: hours(72),
  })
  expect(steps).toMatchObject([{ from_state: 'offered', to_state: 'postponed', actor: 'owner' }])
})

test.each([
  ['too long at a time', hours(73), offered(), 'refused: at most 72 hours at a time'],
  ['too often', hours(1), offered({ postpone_count: 5 }), 'refused: postponed 5 times already'],
  [
    'too long in all',
    hours(48),
    offered({ first_offered_at: hours(-13 * 24) }),
    'refused: at most 336 hours in all',
  ],
  ['without a date', undefined, offered(), 'refused: no date was given'],
  ['what has begun', hours(1), deployment('downloading'), 'refused: the update is downloading'],
  ['what is over', hours(1), deployment('succeeded'), 'refused: the update is succeeded'],
])('postponing: %s is refused', (_what, until, before, outcome) => {
  const judged = postpone(until, before)
  expect(judged).toMatchObject({ outcome, steps: [] })
  expect(judged.after).toBe(before)
})

test('postponing: the last allowed hour of the last allowed time is still allowed', () => {
  const before = offered({ postpone_count: 4, first_offered_at: hours(-13 * 24) })
  expect(postpone(hours(24), before).outcome).toBe('applied')
})

test('postponing: features freely, configurations never', () => {
  const often = offered({ postpone_count: 50, first_offered_at: hours(-2000) })
  expect(postpone(hours(1000), often, limitsOf('feature')).outcome).toBe('applied')
  expect(postpone(hours(1), offered(), limitsOf('config')).outcome).toContain('cannot be postponed')
})

test('postponing: less for what is exploited', () => {
  const advisory = { id: 'FS-1', severity: 'high', url: '/a/1', exploited: true }
  const limits = limitsOf('security', advisory)
  expect(postpone(hours(24), offered(), limits).outcome).toBe('applied')
  expect(postpone(hours(25), offered(), limits).outcome).toContain('at most 24 hours')
})
