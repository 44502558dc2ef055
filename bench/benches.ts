import { benchApiStorm } from './api-storm.ts'
import type { Bench } from './bench.ts'
import type { BudgetKey } from './budgets.ts'
import { benchBundle } from './bundle.ts'
import { benchBytes } from './bytes.ts'
import { benchConnect } from './connect.ts'
import { benchDelivery } from './delivery.ts'
import { benchDelta } from './delta.ts'
import { benchDisable } from './disable.ts'
import { benchMemory } from './memory.ts'
import { benchNeighbours } from './neighbours.ts'
import { benchPki } from './pki.ts'
import { benchPolls } from './polls.ts'
import { benchReconnectStorm } from './reconnect-storm.ts'
import { benchRegistration } from './registration.ts'
import { benchReports } from './reports.ts'
import { benchRollouts } from './rollouts.ts'
import { benchTell } from './tell.ts'
import { benchTuf } from './tuf.ts'

/** Everything that is measured, in the order in which it runs. */
export const benches: readonly Bench[] = [
  benchConnect,
  benchMemory,
  benchPolls,
  benchRollouts,
  benchBundle,
  benchReports,
  benchRegistration,
  benchTell,
  benchBytes,
  benchDisable,
  benchNeighbours,
  benchApiStorm,
  benchReconnectStorm,
  { name: 'pki', title: 'Issuing', budgets: [], run: ({ say }) => benchPki(say) },
  { name: 'delta', title: 'Deltas', budgets: [], run: ({ say }) => benchDelta(say) },
  { name: 'delivery', title: 'Delivery', budgets: [], run: ({ say }) => benchDelivery(say) },
  { name: 'tuf', title: 'Metadata', budgets: [], run: ({ say }) => benchTuf(say) },
]

/** Budgets that no bench measures yet, and why. A rule test wants every budget here or in exactly one bench. */
export const unmeasured: Partial<Record<BudgetKey, string>> = {}
