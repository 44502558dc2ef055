import type { Tx } from '../db/client.ts'
import type { Actor } from '../http/access.ts'

/** What somebody shows to say who he is, before it is looked at. */
export interface Credential {
  /** Tells it from others without giving it away: its SHA-256 in lower hex. */
  name: string
  lookUp: (now: Date) => Promise<Caller | Refused>
}

/** Somebody who may call now. */
export interface Caller {
  actor: Omit<Actor, 'requestId'>
  lastUsedAt: Date | null
  /** Notes the use, when the last one lies before `olderThan`. */
  touch: (tx: Tx, times: { now: Date; olderThan: Date }) => Promise<void>
  refusal?: undefined
}

export interface Refused {
  /** A word for the list of events: never for the caller, who could learn from it what exists. */
  refusal: string
  kind: string
  facts?: Readonly<Record<string, unknown>>
  /** Something that was never good counts against the address it comes from; what has ended does not, for nobody guesses that. */
  isGuess: boolean
}
