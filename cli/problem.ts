import { z } from 'zod'

import { exitCodes, Failure } from './failure.ts'

/** RFC 9457 as the server sends it. Read leniently: something in between may have answered. */
const Problem = z.looseObject({
  code: z.string().max(64).catch('failed').default('failed'),
  detail: z.string().optional().catch(undefined),
  title: z.string().optional().catch(undefined),
  requestId: z.string().optional().catch(undefined),
  approvalId: z.uuid().optional().catch(undefined),
})

const nextSteps: Record<string, string> = {
  'not-authenticated':
    'Name the file that holds a valid API key: --api-key-file FILE (or FLEETSEAL_API_KEY)',
  'not-allowed':
    'Somebody else has to, or it takes a key of another role: fleetseal api-key whoami, fleetseal api-key list',
  'not-found': 'Look at what there is: every noun has a list command, fleetseal help NOUN',
  conflict: 'Look at what stands in the way (shown above), then try again',
  'illegal-transition': 'Look at its present state with the show command of the noun',
  'quota-exhausted': 'Raise the quota of the enrollment profile or make another token',
  'rate-limited': 'Wait a minute',
  'too-large': 'The limit for artifacts is FLEETSEAL_MAX_ARTIFACT_MB on the server',
  'signature-invalid': 'Sign the present draft again: fleetseal sign ROLE',
  'storage-full': "Free space on the server's data directory",
  busy: 'Try again in a moment',
  internal: "It is a bug of the server: look for the request id in the server's log",
}

/** The failure that a refused request means, with what the server said and a next step. */
export function failureOf(status: number, body: unknown): Failure {
  const parsed = Problem.safeParse(body)
  const { code, detail, title, ...facts } = parsed.success
    ? parsed.data
    : { code: 'failed', detail: undefined, title: undefined, approvalId: undefined }
  const { approvalId } = facts
  const nextStep =
    code === 'approval-needed' && approvalId !== undefined
      ? `Others run: fleetseal approval approve ${approvalId}; then run this command again`
      : nextSteps[code]
  return new Failure(code, detail ?? title ?? `The server answered ${status}`, {
    exitCode: status === 401 ? exitCodes.notAuthenticated : exitCodes.failed,
    nextStep,
    facts: { status, ...facts },
  })
}
