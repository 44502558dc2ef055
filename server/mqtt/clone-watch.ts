interface Sides {
  /** The two addresses, the one that has the session now last. */
  addresses: readonly [string, string]
  /** When the session changed sides. */
  at: readonly number[]
}

/**
 * Two that fight come back within seconds, as long as both are on. A device that moves to another network takes its own session over once, and one whose network
 * comes and goes does not change sides every half minute.
 */
const windowMs = 180_000
const enough = 6
const maxDevices = 10_000

/**
 * Tells a device from its copy: two that hold the same key take the session from each other, for each connects anew when it has lost it. Counted is how
 * often a session that was open goes over to the other one of the same two addresses; where the two are at two processes, each of these sees every second
 * change, always in the same direction. In memory, of the devices that were seen last.
 */
export class CloneWatch {
  readonly #devices = new Map<string, Sides>()

  /**
   * A session of a device was open at one address and was taken over from another.
   *
   * @returns both addresses, when that has happened too often to be one device; once, then it is counted anew
   */
  takenOver(
    deviceId: string,
    { from, to, now }: { from: string; to: string; now: number },
  ): readonly [string, string] | undefined {
    if (from === to) return undefined
    const known = this.#devices.get(deviceId)
    this.#devices.delete(deviceId)
    const isBetween = known?.addresses.includes(from) === true && known.addresses.includes(to)
    const before = isBetween ? known.at.filter((at) => now - at < windowMs) : []
    const at = [...before, now]
    if (at.length >= enough) return [from, to]
    this.#devices.set(deviceId, { addresses: [from, to], at })
    const [oldest] = this.#devices.keys()
    if (this.#devices.size > maxDevices && oldest !== undefined) this.#devices.delete(oldest)
    return undefined
  }
}
