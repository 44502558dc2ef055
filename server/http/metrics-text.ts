import { AggregatorRegistry } from 'prom-client'

import type { Context } from '../context.ts'

/**
 * What this process has counted and, where it started broker processes, what they have: the sum of each series (of the delay of
 * event loops the average), so that a query is the same for one process and many.
 */
export async function metricsText({
  metrics,
  brokers,
}: Pick<Context, 'metrics' | 'brokers'>): Promise<string> {
  if (!brokers) return await metrics.registry.metrics()
  // Asked first: what was not heard is counted in what follows.
  const others = await brokers.metrics()
  const all = [await metrics.registry.getMetricsAsJSON(), ...others]
  return await AggregatorRegistry.aggregate(all).metrics()
}
