/** What is said of the bytes of any artifact, whoever sends them. */
export const contentType = 'application/octet-stream'
/** The right to it belongs to one device, so only that device may keep it. */
export const cacheControl = 'private, max-age=31536000, immutable'

/** Bytes that arrived completely but are not kept yet. Disposing what was not kept leaves nothing behind. */
export interface ReceivedBytes extends AsyncDisposable {
  /** Of all bytes, lower hex. */
  sha256: string
  /** Bytes. */
  size: number
  /** Keeps them under their hash, durably. Doing it twice, or for bytes that are kept already, changes nothing. */
  keep: () => Promise<void>
}

/** A stretch of an artifact that others are sent from too: its bytes must not be changed. */
export interface HeldBytes {
  bytes: Buffer
  /** Whether it was there before. */
  isHit: boolean
  /** `reuse` only when nothing reads from it any more. Again changes nothing. */
  release: (reuse?: 'reuse') => void
}

/** A kept artifact, open for reading. Dispose it when done: descriptors are shared and counted. */
export interface OpenArtifact extends AsyncDisposable {
  /** Bytes. */
  size: number
  /** Reads up to `length` bytes at `position` into the start of `buffer`; gives how many it read, 0 at the end. */
  read: (buffer: Buffer, position: number, length: number) => Promise<number>
  /** What is in memory from `position` on, at least a byte, where several read it; otherwise undefined, and it has to be read. */
  hold?: (position: number) => Promise<HeldBytes | undefined>
  /** A URL that gives these bytes to whoever has it, for a short time: a secret. Only where the storage has them and may give such. */
  link?: () => Promise<string>
}

/**
 * Where artifact bytes live, by SHA-256 (architecture.md §9): a directory here, an object store would be another
 * implementation. Nothing in it is ever changed, so readers need no locks.
 */
export interface ArtifactStorage extends AsyncDisposable {
  /**
   * Takes a stream in without holding more than one chunk of it in memory. Throws DomainError `too-large` past `maxBytes` (nothing
   * more is read then), `storage-full` when there is no room, and whatever the source throws; nothing remains then.
   */
  receive: (source: AsyncIterable<Buffer>, limits: { maxBytes: number }) => Promise<ReceivedBytes>
  /** Undefined when there are no such bytes. `sha256` is 64 lower hex digits; anything else is absent. */
  open: (sha256: string) => Promise<OpenArtifact | undefined>
  /** A store elsewhere that can be away while this process is well. */
  remote?: RemoteStore
}

export interface RemoteStore {
  /** Of the bucket. */
  name: string
  /** Tries everything that is needed of it. Undefined: it can be done. Ends within minutes whatever the store does. */
  probe: () => Promise<RemoteFault | undefined>
  /** What is known of it, at once. */
  state: () => RemoteState
}

/** `degraded`: what needs bytes of artifacts is refused for now, and nothing else. */
export type RemoteState = 'ok' | 'degraded'

export interface RemoteFault {
  step: 'write' | 'read' | 'remove'
  /** Of HTTP; undefined: it did not answer. */
  status: number | undefined
  /** The store's name for it; holds no secret. */
  why: string
  /** In which the store says that the bucket is. */
  region?: string | undefined
}
