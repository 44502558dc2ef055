import type { RepositoryState, TrustedState } from '../../pki/tuf/types.ts'
import { type Disk, removeFile, replaceFile } from '../disk.ts'
import { DeviceError } from '../errors.ts'

type RepositoryName = 'director' | 'image'

const repositories = ['director', 'image'] as const satisfies readonly RepositoryName[]
/** updates.md section 4: the order in which files are stored, so that a crash leaves nothing that contradicts itself. */
const roles = ['root', 'timestamp', 'snapshot', 'targets'] as const
const timeFile = 'trusted.time'
const maxFileBytes = 65_536

/** What the device trusts, or undefined before its first roots are there. Counters come from where they cannot fall. */
export async function findTrusted(disk: Disk): Promise<TrustedState | undefined> {
  const director = await readRepository(disk, 'director')
  const image = await readRepository(disk, 'image')
  if (!director || !image) return undefined
  const time = await readText(disk, timeFile)
  return {
    director,
    image,
    ...(time !== undefined && { timeAt: time }),
    svn: await disk.counters(),
  }
}

/** As findTrusted; throws DeviceError when there is nothing. */
export async function loadTrusted(disk: Disk): Promise<TrustedState> {
  const state = await findTrusted(disk)
  if (!state)
    throw new DeviceError('damaged', 'The trusted roots are missing', 'Enroll the device anew')
  return state
}

/** Stores what changed since `before`, file by file, each durable before the next; time last (updates.md section 4). */
export async function saveTrusted(
  disk: Disk,
  before: TrustedState | undefined,
  after: TrustedState,
): Promise<void> {
  // A root that replaces the time key takes the time back: gone before that root is there, never the other way round.
  const isTimeTakenBack = (before?.timeAt ?? '') > (after.timeAt ?? '')
  if (isTimeTakenBack) await removeFile(disk, timeFile)
  for (const name of repositories) await saveRepository(disk, name, before?.[name], after[name])
  if (after.timeAt !== undefined && (isTimeTakenBack || after.timeAt !== before?.timeAt)) {
    await replaceFile(disk, timeFile, Buffer.from(after.timeAt))
  }
}

async function saveRepository(
  disk: Disk,
  name: RepositoryName,
  before: RepositoryState | undefined,
  after: RepositoryState,
): Promise<void> {
  for (const role of roles) {
    const text = after[role]
    if (text !== undefined && text !== before?.[role]) {
      await replaceFile(disk, fileOf(name, role), Buffer.from(text))
    }
  }
  for (const [role, text] of Object.entries(after.delegated)) {
    if (text !== before?.delegated[role]) {
      await replaceFile(disk, delegatedFile(name, role), Buffer.from(text))
    }
  }
  for (const role of Object.keys(before?.delegated ?? {})) {
    if (!Object.hasOwn(after.delegated, role)) await removeFile(disk, delegatedFile(name, role))
  }
}

async function readRepository(
  disk: Disk,
  name: RepositoryName,
): Promise<RepositoryState | undefined> {
  const [root, timestamp, snapshot, targets] = await Promise.all(
    roles.map((role) => readText(disk, fileOf(name, role))),
  )
  if (root === undefined) return undefined
  const prefix = delegatedFile(name, '').slice(0, -'.json'.length)
  const delegated: Record<string, string> = {}
  for (const file of await disk.list()) {
    if (!file.startsWith(prefix) || !file.endsWith('.json')) continue
    const text = await readText(disk, file)
    const role = decodeURIComponent(file.slice(prefix.length, -'.json'.length))
    if (text !== undefined) delegated[role] = text
  }
  return {
    root,
    ...(timestamp !== undefined && { timestamp }),
    ...(snapshot !== undefined && { snapshot }),
    ...(targets !== undefined && { targets }),
    delegated,
  }
}

async function readText(disk: Disk, file: string): Promise<string | undefined> {
  return (await disk.read(file, maxFileBytes))?.toString('utf8')
}

function fileOf(name: RepositoryName, role: string): string {
  return `trusted.${name}.${role}.json`
}

/** A role's name comes from metadata, so it is encoded where it becomes a file name (updates.md 2.1). */
function delegatedFile(name: RepositoryName, role: string): string {
  return `trusted.${name}.role.${encodeURIComponent(role)}.json`
}
