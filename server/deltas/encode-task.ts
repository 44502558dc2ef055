import type { BlockSizes } from './encode.ts'
import type { FormReason } from './state.ts'

export type ImageName = 'base' | 'target'

/** What a thread is given: a delta when there is a base, else one zstd frame. */
export interface EncodeTask {
  target: { sha256: string; length: number }
  base?: { sha256: string; length: number }
  /** Chosen by the image's length when left out. */
  sizes?: BlockSizes
  /** Where it writes what it makes; a delta's frames without what stands before them. */
  file: string
  /** More is of no use. */
  maxBytes: number
  maxCpuMs: number
}

export type EncodeResult =
  | { kind: 'made'; index?: Uint8Array; blockBytes?: number; cpuMs: number }
  | { kind: 'refused'; reason: FormReason; cpuMs: number }

export type FromThread =
  | { kind: 'read'; id: number; image: ImageName; position: number; length: number }
  | EncodeResult

export interface ToThread {
  id: number
  bytes: Uint8Array<ArrayBuffer>
}
