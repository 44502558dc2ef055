import type { ErrorCode } from '../errors.ts'

export type ProblemCode = ErrorCode | 'internal'

interface Help {
  /** What happened, in a sentence. */
  meaning: string
  /** What the caller does next. */
  next: string
}

/** What each problem means and what to do about it: the pages below `/docs/problems/`, and the OpenAPI document. */
export const problemHelp: Readonly<Record<ProblemCode, Help>> = {
  'invalid-request': {
    meaning: 'The path, the query, a header or the body is not as the call wants it.',
    next: '`issues` names the fields. Mend the request; the same one is refused again.',
  },
  'not-authenticated': {
    meaning: 'Nobody is named by the request, or what it shows is unknown, revoked or over.',
    next: 'Send `Authorization: Bearer KEY` with a key that is good, or sign in again.',
  },
  'not-allowed': {
    meaning: 'The caller is known and may not do this, or not to this part of the fleet.',
    next: '`needs` names the permission. Ask an administrator for a role that has it, or let somebody else do it.',
  },
  'step-up-needed': {
    meaning: 'The session is fine, but its second factor was shown too long ago for this.',
    next: 'Show it again with POST /api/v1/sign-in/step-up, then repeat the call.',
  },
  'approval-needed': {
    meaning: 'The thing is not done by one person alone: others have to agree first.',
    next: '`approvalId` names what was asked for. Others look at it in GET /api/v1/approvals and agree; then make the same call again before `expiresAt`.',
  },
  'not-found': {
    meaning: 'There is no such thing, or it lies outside of what the caller may see.',
    next: 'Look at what there is: every kind of thing has a list.',
  },
  'method-not-allowed': {
    meaning: 'The path exists, the method does not.',
    next: 'The header `Allow` names the methods.',
  },
  conflict: {
    meaning: 'Something that exists stands in the way, or changed at the same moment.',
    next: 'Read the thing again; `detail` says what is in the way. Then try again.',
  },
  'illegal-transition': {
    meaning: 'The thing is in a state in which this cannot be done.',
    next: '`state` names its state. Do what leads out of it first, or leave it.',
  },
  'not-ready': {
    meaning: 'Something has to be done first.',
    next: '`detail` says what. Do that, then try again.',
  },
  'precondition-failed': {
    meaning:
      'The thing is another version than the one that `If-Match` names: somebody changed it.',
    next: 'Read it again, look at what changed, and send the change with its new `ETag`.',
  },
  'too-large': {
    meaning: 'The body is larger than this call takes.',
    next: 'Send less at a time. Of artifacts, FLEETSEAL_MAX_ARTIFACT_MB is the limit.',
  },
  'unsupported-media-type': {
    meaning: 'The body is not of a type that this call reads.',
    next: 'Set `Content-Type` to one that the call names.',
  },
  'signature-invalid': {
    meaning: 'A signature does not verify, or is not one of a key that counts here.',
    next: 'Sign what is there now with a key of the role: it may have changed since.',
  },
  'idempotency-mismatch': {
    meaning: 'This `Idempotency-Key` was used for another request.',
    next: 'Use a new key for a new request, and the same one only to repeat the same.',
  },
  'quota-exhausted': {
    meaning: 'All that was granted has been used.',
    next: 'Raise the quota, or make another token.',
  },
  'rate-limited': {
    meaning: 'Too many requests of this caller in a short time, or too many failed attempts.',
    next: 'Wait as many seconds as `Retry-After` says.',
  },
  'storage-full': {
    meaning: "The server's disk has no room.",
    next: "Free space in the server's data directory, then send it again.",
  },
  busy: {
    meaning: 'The server cannot do it at this moment; nothing was changed.',
    next: 'Try again after `Retry-After` seconds.',
  },
  internal: {
    meaning: 'A mistake of the server.',
    next: "Look for the request id in the server's log, and report it.",
  },
}

/** RFC 9457 §3.1.1: below the operators' listener there is a page at it. */
export function problemType(code: ProblemCode): string {
  return `/docs/problems/${code}`
}
