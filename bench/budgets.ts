/** One figure that a row of the bench is held against. */
export interface Budget {
  /** The line of `budgetLines` that it is of; absent for a goal beyond the budgets. */
  line?: BudgetLine
  sense: 'at most' | 'at least'
  limit: number
  /** Of the limit; absent for a ratio. */
  unit?: string
}

/** The budgets of the whole product, as promised: server CPU time as a ratio to what does the same, measured in the same run. */
export const budgetLines = {
  connect: 'full mTLS connect, identity and status checked, presence recorded',
  known: 'connect a known device',
  report: 'a report, acknowledged after commit',
  poll: 'a poll with nothing to do',
  tell: 'tell 5,000 connected devices',
  bytes: 'firmware bytes',
  rollout: 'create and start a rollout for 1,000,000 devices',
  disable: 'disable → socket closed, any process',
  neighbour: 'one frozen or flooding device',
  api: 'operators’ API during a reconnect storm',
  memory: 'memory per idle mTLS connection',
  bundle: 'one device’s full update bundle',
} as const
export type BudgetLine = keyof typeof budgetLines

const ratios = {
  'connect-mosquitto': { line: 'connect', sense: 'at most', limit: 1.05 },
  'connect-tls': { line: 'connect', sense: 'at most', limit: 1.6 },
  'connect-revoked': { line: 'connect', sense: 'at most', limit: 1.05 },
  'connect-revoked-mosquitto': { line: 'connect', sense: 'at most', limit: 0.4 },
  'connect-resumed-mosquitto': { sense: 'at most', limit: 1.25 },
  'report-insert': { line: 'report', sense: 'at most', limit: 0.33 },
  'report-mosquitto': { sense: 'at most', limit: 2.5 },
  'tell-mosquitto': { line: 'tell', sense: 'at most', limit: 0.9 },
  'tell-last': { sense: 'at most', limit: 0.8 },
  'command-mosquitto': { sense: 'at most', limit: 1.7 },
  'bytes-cold': { line: 'bytes', sense: 'at least', limit: 0.8 },
  'bytes-hot': { line: 'bytes', sense: 'at least', limit: 1.2 },
  'frozen-neighbour': { line: 'neighbour', sense: 'at most', limit: 2 },
  'flooding-neighbour': { line: 'neighbour', sense: 'at most', limit: 2 },
  'api-storm': { line: 'api', sense: 'at most', limit: 2 },
  'memory-idle': { line: 'memory', sense: 'at most', limit: 1.25 },
  'memory-idle-mosquitto': { sense: 'at most', limit: 3.6 },
  'bulk-registration': { sense: 'at most', limit: 0.15 },
} as const satisfies Record<string, Budget>

const amounts = {
  'connect-statements': { line: 'known', sense: 'at most', limit: 0, unit: 'statements' },
  'report-p99': { line: 'report', sense: 'at most', limit: 50, unit: 'ms' },
  'poll-reads': { line: 'poll', sense: 'at most', limit: 1, unit: 'reads' },
  'bytes-in-flight': { line: 'bytes', sense: 'at most', limit: 64, unit: 'MB' },
  'rollout-start': { line: 'rollout', sense: 'at most', limit: 1_000, unit: 'ms' },
  'rollout-statements': { line: 'rollout', sense: 'at most', limit: 0, unit: 'more statements' },
  'disable-p99': { line: 'disable', sense: 'at most', limit: 25, unit: 'ms' },
  'disable-p99-elsewhere': { line: 'disable', sense: 'at most', limit: 25, unit: 'ms' },
  'disable-fleet': { line: 'disable', sense: 'at most', limit: 1_500, unit: 'ms' },
  'disable-cpu': { sense: 'at most', limit: 120, unit: 'µs' },
  'disable-missed': { line: 'disable', sense: 'at most', limit: 1, unit: 'sweeps' },
  'memory-unauthenticated': { line: 'neighbour', sense: 'at most', limit: 64, unit: 'KB' },
  'bundle-raw': { line: 'bundle', sense: 'at most', limit: 8, unit: 'kB' },
  'bundle-compressed': { line: 'bundle', sense: 'at most', limit: 3, unit: 'kB' },
} as const satisfies Record<string, Budget>

/** By the key that rows refer to. */
export const budgets: Readonly<Record<BudgetKey, Budget>> = { ...ratios, ...amounts }
export type BudgetKey = keyof typeof ratios | keyof typeof amounts

export const budgetKeys = Object.keys(budgets) as BudgetKey[]

/** `≤ 1.05`, `≤ 25 ms`. */
export function targetOf(key: BudgetKey): string {
  const { sense, limit, unit } = budgets[key]
  const figure = `${sense === 'at most' ? '≤' : '≥'} ${limit.toLocaleString('en')}`
  return unit === undefined ? figure : `${figure} ${unit}`
}

export function isMet(key: BudgetKey, value: number): boolean {
  const { sense, limit } = budgets[key]
  return sense === 'at most' ? value <= limit : value >= limit
}
