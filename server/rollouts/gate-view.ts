import { durationOf } from '../protocol/duration.ts'
import { type Gate, type GateFacts, soakEnd } from './gate.ts'

/** How a gate is shown: `GateView` of gate-wire.ts. */
export function gateView({ soakMs = 0, maxPutOff = null, withinMs = null }: Gate) {
  return {
    soak: soakMs > 0 ? durationOf(soakMs / 1_000) : null,
    maxPutOff,
    within: withinMs === null ? null : durationOf(withinMs / 1_000),
  }
}

export function gateTimes(gate: Gate, facts: GateFacts) {
  const end = facts.metAt ? soakEnd(gate, facts) : undefined
  return {
    soakUntil: end?.toISOString() ?? null,
    heldAt: facts.heldAt?.toISOString() ?? null,
  }
}
