import { AsyncLocalStorage } from 'node:async_hooks'

/** Where a request came from, for the audit log. */
export interface RequestOrigin {
  /** Of the other end of the connection. */
  address: string
  /** What was shown: `api-key`, `session` and the like; absent when the actor says it. */
  credential?: string
  /** As the caller calls itself; at most 200 characters. */
  userAgent?: string
}

const current = new AsyncLocalStorage<{ requestId: string; origin: RequestOrigin }>()

/** Runs what handles a request, so that what it records says where it came from without being handed it. */
export function withOrigin<T>(requestId: string, origin: RequestOrigin, work: () => T): T {
  return current.run({ requestId, origin }, work)
}

/** Says what kind of credential the caller of the request being handled has shown, where its actor does not tell. */
export function noteCredential(credential: string): void {
  const store = current.getStore()
  if (store) store.origin.credential = credential
}

/**
 * Where the request with this id came from. Undefined outside its handling: work that is done for several requests together goes
 * on in the name of the one that began it, and must not lend its address to the others.
 */
export function originOf(requestId: string | undefined): RequestOrigin | undefined {
  const store = current.getStore()
  return requestId !== undefined && store?.requestId === requestId ? store.origin : undefined
}

/** The request being handled, for work that is done for it alone; undefined outside any. */
export function currentRequestId(): string | undefined {
  return current.getStore()?.requestId
}
