import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs'

/** What a process holds open, by kind, and its memory. */
export interface Holding {
  /** Of connections that came to the ports of the devices. */
  device: number
  /** To the database. */
  database: number
  /** All other sockets: those that listen, those of operators. */
  socket: number
  pipe: number
  file: number
  /** Timers, events and what else the kernel gives descriptors for. */
  other: number
  /** Of the largest of the processes. */
  residentMb: number
}
export type Kind = Exclude<keyof Holding, 'residentMb'>
export const kinds = ['device', 'database', 'socket', 'pipe', 'file', 'other'] as const

/** Which connections are whose. */
export interface Ports {
  device: readonly number[]
  database: number
}

/**
 * Of a server with all the processes that it started.
 *
 * @throws when the process is not there
 */
export function holdingOf(pid: number, ports: Ports): Holding {
  const sum: Holding = {
    device: 0,
    database: 0,
    socket: 0,
    pipe: 0,
    file: 0,
    other: 0,
    residentMb: 0,
  }
  const tables = ['tcp', 'tcp6'].map((name) => readFileSync(`/proc/${pid}/net/${name}`, 'utf8'))
  const known = connectionsIn(tables.join('\n'), ports)
  add(sum, pid, known)
  for (const child of below(pid)) {
    try {
      add(sum, child, known)
    } catch (error) {
      // It ended meanwhile.
      if (existsSync(`/proc/${child}/fd`)) throw error
    }
  }
  return sum
}

function add(sum: Holding, pid: number, known: ReadonlyMap<string, 'device' | 'database'>): void {
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    const target = targetOf(`/proc/${pid}/fd/${name}`)
    if (target !== undefined) sum[kindOf(target, known)]++
  }
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const [, kilobytes] = /VmRSS:\s+(\d+) kB/.exec(status) ?? []
  sum.residentMb = Math.max(sum.residentMb, Math.round(Number(kilobytes ?? 0) / 1_024))
}

/** The processes that it started itself: a server starts no deeper ones. */
function below(pid: number): number[] {
  return readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8')
      .split(' ')
      .filter(Boolean)
      .map(Number),
  )
}

function targetOf(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    // It was closed meanwhile.
    return undefined
  }
}

/** @param target of the link in `/proc/PID/fd` */
export function kindOf(target: string, known: ReadonlyMap<string, 'device' | 'database'>): Kind {
  const [, inode] = /^socket:\[(\d+)\]$/.exec(target) ?? []
  if (inode !== undefined) return known.get(inode) ?? 'socket'
  if (target.startsWith('pipe:')) return 'pipe'
  return target.startsWith('/') ? 'file' : 'other'
}

const listening = '0A'

/** The inodes of the connections of devices and to the database. @param table as in `/proc/net/tcp` (proc(5)) */
export function connectionsIn(
  table: string,
  { device, database }: Ports,
): Map<string, 'device' | 'database'> {
  const known = new Map<string, 'device' | 'database'>()
  for (const line of table.split('\n')) {
    const [, local = '', remote = '', state, , , , , , inode = ''] = line.trim().split(/\s+/)
    if (state === listening) continue
    if (device.includes(portOf(local))) known.set(inode, 'device')
    else if (portOf(remote) === database) known.set(inode, 'database')
  }
  return known
}

function portOf(address: string): number {
  return Number.parseInt(address.split(':')[1] ?? '', 16)
}
