import { expect, test } from 'vitest'

import { routes } from '../../server/http/app.ts'
import type { Route } from '../../server/http/route.ts'

/* A change says what it was made of (If-Match), so that nobody's work is overwritten unseen; what does not offer that says why. */

const ends =
  'It ends or removes a thing that nobody can change: whatever was read of it still holds'
const member =
  'It says one thing of two others, which is so or not: there is nothing in between to overwrite'
const own = "Everybody's own, and a thing that nobody can change"
const content = 'What is stored is named by its hash, and never another'

const whole =
  'Not yet: it says all of it at once, is seldom said, and each change is in the audit log with what was before'
const asked = 'What is asked becomes a draft that people read and sign offline'

/** Why a change takes no If-Match. */
const without: Readonly<Record<string, string>> = {
  'PUT /artifacts': content,
  'PUT /groups/:groupId/devices/:deviceId': member,
  'DELETE /groups/:groupId/devices/:deviceId': member,
  'DELETE /authority-requests/:requestId': ends,
  'DELETE /enrollment-profiles/:profileId/tokens/:tokenId': ends,
  'DELETE /enrollment-profiles/:profileId/scep-challenges/:challengeId': ends,
  'DELETE /operator-certificates/:certificateId': ends,
  'DELETE /api-keys/:keyId': ends,
  'DELETE /workloads/:workloadId': ends,
  'DELETE /alert-channels/:channelId': ends,
  'DELETE /devices/:deviceId/ddi/token': ends,
  'DELETE /people/:personId/sessions': ends,
  'DELETE /people/:personId/sessions/:sessionId': ends,
  'PUT /metadata/release-keys': asked,
  'DELETE /enrollment-profiles/:profileId/ddi': whole,
  'PUT /enrollment-profiles/:profileId/ddi': whole,
  'PUT /models/:model/ddi': whole,
  'PUT /devices/:deviceId/ddi': whole,
  'PUT /approval-policies/:kind': whole,
  'PUT /audit/hold': whole,
  'PATCH /people/:personId': whole,
  'DELETE /self/sessions': own,
  'DELETE /self/sessions/:sessionId': own,
  'DELETE /self/totp': own,
  'DELETE /self/passkeys/:passkeyId': own,
}

const isChange = ({ method }: Route) => ['put', 'patch', 'delete'].includes(method)
const nameOf = ({ method, path }: Route) => `${method.toUpperCase()} ${path}`
const changes = routes.filter(isChange)

test('every PUT, PATCH and DELETE takes If-Match, or says why not', () => {
  expect(changes.length).toBeGreaterThan(30)
  const bare = changes.filter(({ versioned }) => versioned === undefined).map(nameOf)
  expect(bare.toSorted()).toEqual(Object.keys(without).toSorted())
})
