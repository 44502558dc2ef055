import type { SelfView } from '../server/sign-in/self-wire.ts'

/** Who is signed in. */
export type Self = SelfView
export type Credentials = NonNullable<SelfView['credentials']>

/** A page of a list. */
export interface Listing<T> {
  items: T[]
  nextCursor: string | null
}
