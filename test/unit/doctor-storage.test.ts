import { expect, test } from 'vitest'

import { judgeStorage, lookAtStorage } from '../../server/doctor/examine-storage.ts'

const judge = (step: 'write' | 'read' | 'remove', status: number | undefined) =>
  judgeStorage('fleet', { step, status, why: 'Because' })

test('artifacts in the data directory, and a bucket that does everything', async () => {
  const nowhere = await lookAtStorage({ storage: {} as never })
  expect(nowhere).toMatchObject([{ check: 'storage', level: 'ok', fix: null }])
  expect(judgeStorage('fleet', undefined)).toMatchObject({ level: 'ok', fix: null })
})

test.each([
  ['write', undefined, 'error', /FLEETSEAL_S3_ENDPOINT/],
  ['write', 503, 'error', /FLEETSEAL_S3_ENDPOINT/],
  ['write', 404, 'error', /FLEETSEAL_S3_BUCKET/],
  ['write', 403, 'error', /s3:PutObject/],
  ['write', 301, 'error', /FLEETSEAL_S3_REGION/],
  ['read', 403, 'error', /s3:GetObject/],
  ['remove', 403, 'warning', /s3:DeleteObject/],
  ['remove', undefined, 'error', /FLEETSEAL_S3_ENDPOINT/],
] as const)(
  'a bucket that does not %s (%s) is a finding with what mends it',
  (step, status, level, fix) => {
    const finding = judge(step, status)
    expect(finding).toMatchObject({ check: 'storage', level })
    expect(finding.fix).toMatch(fix)
  },
)
