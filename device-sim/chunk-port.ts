import type { ChunkRequest } from '../server/protocol/chunks.ts'
import type { Connection } from './connection.ts'
import type { ChunkLink, ChunkListener } from './update/chunk-transfer.ts'

/** The topics `get` and `chunk` of the connection, for the one download that listens. */
export class ChunkPort implements ChunkLink {
  readonly #connection: Pick<Connection, 'ask' | 'isConnected'>
  #listener: ChunkListener | undefined

  constructor(connection: Pick<Connection, 'ask' | 'isConnected'>) {
    this.#connection = connection
  }

  get isConnected(): boolean {
    return this.#connection.isConnected
  }

  ask(request: ChunkRequest): void {
    this.#connection.ask('get', request)
  }

  listen(listener: ChunkListener): () => void {
    this.#listener = listener
    return () => {
      if (this.#listener === listener) this.#listener = undefined
    }
  }

  receive(frame: Buffer): void {
    this.#listener?.onFrame(frame)
  }

  /** The connection ended: what was asked for will not come. */
  lost(): void {
    this.#listener?.onLost()
  }
}
