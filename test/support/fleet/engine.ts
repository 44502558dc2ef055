import type { DeploymentState } from '../../../server/protocol/deployment.ts'

/** A device, by its place in the fleet, that was given the release now. */
export interface Given {
  device: number
  deploymentId: string
}

export interface Saying {
  device: number
  deploymentId: string
  /** `hello` is the first contact with the new image. */
  say: DeploymentState | 'hello'
  /** With `succeeded`. */
  commitNonce?: string
  /** Reports of one deployment, from 0. */
  no: number
}

export interface Commit {
  device: number
  commitNonce: string
}

/** What a simulated fleet talks to. Virtual time is in seconds since the start. */
export interface Engine {
  setTime: (nowS: number) => void
  /** These devices are in contact. */
  meet: (devices: readonly number[]) => Promise<Given[]>
  /** What devices say at one instant, in order. Returns who was told that its new image is seen. */
  say: (sayings: readonly Saying[]) => Promise<Commit[]>
  /** The workers' turn: phases, limits, and devices that hold a connection. */
  turn: () => Promise<Given[]>
  /** A device has, or no longer has, a connection over which it can be told. */
  setConnected: (device: number, connected: boolean) => void
  state: () => Promise<string>
  inFlight: () => Promise<number>
  /** What is wrong with what was kept, at the end. */
  faults: () => Promise<string[]>
}
