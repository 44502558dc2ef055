import { decodeNotice } from '../../server/protocol/notice.ts'
import { TrustedClock, systemClock } from '../clock.ts'
import { loadConfig } from '../config.ts'
import { type Disk, FileDisk } from '../disk.ts'
import { DeviceError } from '../errors.ts'
import { findIdentity } from '../identity.ts'
import { isLocked } from '../lock.ts'
import { type DeviceStatus, statusOf } from '../status.ts'
import { readConditions, unsafeBecause } from '../update/conditions.ts'
import { loadJournal } from '../update/journal.ts'
import { neededBytes } from '../update/situation.ts'
import { installedOf, readBootRecord } from '../update/slots.ts'
import { loadTrusted } from '../update/trusted.ts'
import { refusalInWords } from './refusal.ts'

/** What the files say, without starting anything. Throws DeviceError. */
export async function readStatus(dir: string): Promise<DeviceStatus> {
  const disk = await FileDisk.existing(dir)
  const config = await loadConfig(disk)
  const identity = await findIdentity(disk)
  if (!identity) {
    throw new DeviceError(
      'not-enrolled',
      'This device has no certificate yet',
      'Run: npm run device -- enroll',
    )
  }
  const journal = await loadJournal(disk)
  const time = new TrustedClock(systemClock, (await loadTrusted(disk)).timeAt)
  const installed = await readInstalled(disk, Object.keys(config.components))
  return statusOf(
    {
      deviceId: identity.deviceId,
      bootId: '',
      config,
      journal,
      installed: () => installed,
      now: () => time.now(),
    },
    { connected: false },
  )
}

export async function statusCommand(dir: string, print: (line: string) => void): Promise<void> {
  const status = await readStatus(dir)
  for (const line of describe(status, await isLocked(dir))) print(line)
  const unsafe = await waitsBecause(dir, status)
  if (unsafe !== undefined) print(`It waits: ${unsafe}.`)
}

/** Of what has been accepted and is held up by battery, temperature, use or space. */
async function waitsBecause(dir: string, { task }: DeviceStatus): Promise<string | undefined> {
  const states = ['accepted', 'failed', 'verified', 'waiting_window']
  if (!task || !states.includes(task.state)) return undefined
  const disk = await FileDisk.existing(dir)
  const { safety } = await loadConfig(disk)
  const { task: known } = await loadJournal(disk)
  return unsafeBecause(await readConditions(disk), safety, known ? neededBytes(known) : 0)
}

/** In plain words, for the owner. */
export function describe(status: DeviceStatus, isRunning: boolean): string[] {
  const lines = [
    `Device ${status.deviceId}; its agent ${isRunning ? 'is running' : 'is not running'}.`,
    ...status.installed.map(
      ({ component, version, build, svn }) =>
        `Runs ${component} ${version} (build ${build}, security version ${svn}).`,
    ),
    status.optOut
      ? 'You have opted out: updates are announced and not installed unless you accept one.'
      : 'Security updates are installed automatically; new features are installed when you accept them.',
  ]
  if (status.monitoringOff === true) {
    lines.push('Logging and monitoring are off: what happens to it is not told to its maker.')
  }
  const { spans, zone } = status.quiet
  if (spans.length > 0) {
    lines.push(
      `Restarts wait for your quiet hours: ${spans.join(', ')}${zone ? ` (${zone})` : ''}.`,
    )
  }
  if (status.lastRefusal) {
    const { at, code, detail } = status.lastRefusal
    const why = refusalInWords(code)
    lines.push(
      `At ${at} it refused what the server sent${why ? `: ${why}` : ''} (${code}: ${detail}).`,
    )
  }
  if (status.waiting > 0) lines.push(`${status.waiting} messages wait for the server.`)
  return [...lines, '', ...describeTask(status.task)]
}

function describeTask(task: DeviceStatus['task']): string[] {
  if (!task) return ['No update is offered.']
  const kind = {
    security: 'a security update',
    feature: 'an update with new features',
    config: 'a configuration',
  }
  const { advisory } = task.policy
  const lines = [
    `${endings[task.state] ?? 'Offered'}: ${task.component} ${task.version} (build ${task.build}), ${kind[task.policy.class]}.`,
    ...(task.fixes.length > 0 ? [`It fixes: ${task.fixes.join(', ')}.`] : []),
    ...toldOf(task.policy),
    ...(advisory
      ? [`Advisory ${advisory.id}, severity ${advisory.severity}. Read more: ${advisory.url}`]
      : []),
    ...(task.policy.urgency === 'exploited' ? ['The weakness is being used in attacks now.'] : []),
    `State: ${stateInWords(task)}`,
    ...(task.ownerMayChoose ? ['', ...choicesOf(task)] : []),
  ]
  return lines
}

/** The maker's words, and what the owner is to do. */
function toldOf({ notice, override }: NonNullable<DeviceStatus['task']>['policy']): string[] {
  return [
    ...(notice ? [decodeNotice(notice.text)] : []),
    ...(notice?.action ? [`What to do: ${decodeNotice(notice.action)}`] : []),
    ...(override
      ? [
          `Decided over the owner until ${override.until} by ${override.by.join(' and ')}: ${override.reason}`,
        ]
      : []),
  ]
}

/** Nobody is asked about what has ended. */
const endings: Partial<Record<NonNullable<DeviceStatus['task']>['state'], string>> = {
  succeeded: 'Installed',
  rolled_back: 'Rolled back',
  failed_final: 'Not installed',
  cancelled: 'Taken back',
  superseded: 'Taken back',
  expired: 'Taken back',
  lost: 'Taken back',
}

function endInWords({ code, detail }: NonNullable<DeviceStatus['task']>): string {
  const refusal = refusalInWords(code)
  const what = refusal === undefined ? 'it failed for good' : `this device refused it: ${refusal}`
  const facts = [code, detail].filter(Boolean).join(': ')
  return `${what}${facts && ` (${facts})`}. What ran before runs on.`
}

function stateInWords(task: NonNullable<DeviceStatus['task']>): string {
  const reason =
    task.code === undefined ? '' : ` (${[task.code, task.detail].filter(Boolean).join(': ')})`
  switch (task.state) {
    case 'queued':
    case 'offered':
      return 'it waits for your answer.'
    case 'postponed':
      return `postponed until ${task.postponedUntil ?? 'later'}, ${task.postponements} times so far.`
    case 'opted_out':
      return 'not installed, as you have opted out.'
    case 'accepted':
    case 'downloading':
      return 'it is being downloaded.'
    case 'verified':
    case 'waiting_window':
      return 'downloaded and checked; it waits for a good moment to install.'
    case 'installing':
    case 'installed':
    case 'rebooting':
      return 'it is being installed.'
    case 'testing':
      return 'installed; it is proving itself. If it fails, the old version comes back by itself.'
    case 'succeeded':
      return 'installed and working.'
    case 'rolled_back':
      return `it did not work, and the old version runs again${reason}.`
    case 'failed':
      return `it failed and will be tried again${reason}.`
    case 'failed_final':
      return endInWords(task)
    case 'cancelled':
    case 'superseded':
    case 'expired':
    case 'lost':
      return 'it was taken back.'
    default:
      return task.state satisfies never
  }
}

function choicesOf(task: NonNullable<DeviceStatus['task']>): string[] {
  const { postpone } = task.policy
  const bounds = postpone
    ? ` (at most ${postpone.eachH} hours at a time, ${postpone.maxCount} times, ${postpone.totalH} hours in all)`
    : ''
  return [
    'You can:',
    '  accept               install it now',
    `  postpone             put it off${bounds}`,
    '  opt-out              never install by itself; opt-in takes it back',
    '  opt-out --only-this  not this one',
    ...(task.deadline === undefined
      ? []
      : [`After ${task.deadline} it is installed unless you opt out.`]),
  ]
}

/** What will boot next; the agent alone knows what really runs, but between boots it is the same. */
async function readInstalled(disk: Disk, components: string[]) {
  const all = await Promise.all(
    components.map(async (component) => {
      const { active, slots } = await readBootRecord(disk, component)
      const info = slots[active]
      return info ? [installedOf(component, info)] : []
    }),
  )
  return all.flat()
}
