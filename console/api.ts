/** A refusal of the server (RFC 9457), in words that say what to do. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly code: string
  readonly status: number
  readonly retryAfterSeconds: number | undefined

  constructor(status: number, body: Record<string, unknown>) {
    super(typeof body['detail'] === 'string' ? body['detail'] : 'The server refused this')
    this.status = status
    this.code = typeof body['code'] === 'string' ? body['code'] : 'unknown'
    const seconds = body['retryAfterSeconds']
    this.retryAfterSeconds = typeof seconds === 'number' ? seconds : undefined
  }
}

interface Hooks {
  /** Nobody is signed in any more. */
  signedOut: () => void
  /** Asks for the second factor; false when its person would rather not. */
  stepUp: () => Promise<boolean>
}

const hooks: Hooks = { signedOut: () => {}, stepUp: () => Promise.resolve(false) }

/** Set once, by main.ts: what to do about refusals that concern the whole page. */
export function onRefusal(given: Hooks): void {
  Object.assign(hooks, given)
}

/**
 * Calls the interface of this very server with the session's cookie. A call that needs the second factor again asks for it and is then repeated.
 *
 * @throws Problem; its message is for people
 */
export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  try {
    return (await send(method, `/api/v1${path}`, body)) as T
  } catch (error) {
    if (!(error instanceof Problem)) throw error
    if (error.code === 'step-up-needed' && (await hooks.stepUp())) {
      return (await send(method, `/api/v1${path}`, body)) as T
    }
    if (error.status === 401 && !path.startsWith('/sign-in/')) hooks.signedOut()
    throw error
  }
}

/**
 * Who is signed in, if anybody is. The cookie is hidden from scripts, so the server is asked first whether there is one: a call without any would count as a
 * failed attempt.
 */
export async function whoIsSignedIn<T>(): Promise<T | undefined> {
  const ways = (await send('POST', '/api/v1/sign-in/ways', {})) as { hasCookie?: boolean }
  if (ways.hasCookie !== true) return undefined
  try {
    return (await send('GET', '/api/v1/self', undefined)) as T
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return undefined
    throw error
  }
}

/** Ends the session. Answers where the provider's own session is ended, if it has one. */
export async function signOut(): Promise<string | null> {
  const answer = (await send('POST', '/sign-out', undefined)) as { endSessionUrl?: string | null }
  return answer.endSessionUrl ?? null
}

async function send(method: string, path: string, body: unknown): Promise<unknown> {
  const response = await reach(path, {
    method,
    credentials: 'same-origin',
    headers: {
      // No page of another origin can send it (docs/sign-in.md).
      'X-Fleetseal-Request': '1',
      Accept: 'application/json',
      ...(body === undefined ? {} : { 'Content-Type': 'application/json' }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  const text = await response.text()
  const answer = parsed(text)
  if (!response.ok) throw new Problem(response.status, answer)
  return answer
}

async function reach(path: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(path, init)
  } catch {
    throw new Problem(0, {
      code: 'unreachable',
      detail: 'The server cannot be reached. Check your connection, then try again',
    })
  }
}

function parsed(text: string): Record<string, unknown> {
  if (text === '') return {}
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return { code: 'unreadable', detail: 'The server answered something that is no answer' }
  }
}
