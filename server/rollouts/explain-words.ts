import type { ExplanationView } from './explain-wire.ts'

export interface Told {
  facts: Record<string, unknown>
  /** Of the deployment, or else of the rollout. */
  state: string
  until: Date | undefined
  /** The code of a deployment that failed. */
  failure: string | null
}

type Words = Pick<ExplanationView, 'words' | 'change'>

const nothing = 'Nothing has to change.'

/** The answer in words, and what would change it. As a record, so that a new code does not compile without its words. */
export function wordsFor(code: ExplanationView['code'], told: Told): Words {
  return answers[code](told)
}

const answers: Record<ExplanationView['code'], (told: Told) => Words> = {
  'not-running': ({ state, facts }) => ({
    words: `The rollout is ${state}; while it ran, the device would ${
      facts['otherwise'] === 'admitted' || facts['otherwise'] === undefined
        ? 'be offered the release'
        : `not be offered the release (${fact(facts, 'otherwise')})`
    }.`,
    change: 'Start or resume the rollout, if it is not over.',
  }),
  'not-targeted': ({ facts }) => ({
    words:
      facts['query'] === null
        ? "The device is not in the rollout's group."
        : `The device is not in the rollout's group, or its query does not find it: ${fact(facts, 'query')}`,
    change: 'Put the device into the group, or change what the query asks for on the device.',
  }),
  'device-blocked': () => ({
    words: 'The device is not active, or an incident has cut off a group that it is in.',
    change: 'Let the device back, or end the incident.',
  }),
  'certificate-expiring': () => ({
    words: "The device's certificate ends before an update surely would: it has to renew it first.",
    change: 'The device renews its certificate; devices of this server do that by themselves.',
  }),
  'never-seen': () => ({
    words: 'The device never said what it is and runs.',
    change: 'Let the device connect once.',
  }),
  incompatible: ({ facts }) => ({
    words: `${release(facts)} is not for this device: another model or hardware, or a component that it needs is missing or too old.`,
    change: 'Roll out a release for this hardware, or together with the components it needs.',
  }),
  'already-current': ({ facts }) => ({
    words: `The device runs ${release(facts)} already.`,
    change: nothing,
  }),
  downgrade: ({ facts }) => ({
    words: `The device runs ${fact(facts, 'runs')}, which is newer than ${release(facts)} or has a higher security version.`,
    change: 'Only a rollout that goes back lowers a build, and nothing lowers a security version.',
  }),
  'rolled-back-before': ({ facts }) => ({
    words: `The device rolled back from ${release(facts)} before, and is not offered it again.`,
    change: 'fleetseal device lift-penalty DEVICE --reason TEXT --rolled-back',
  }),
  'open-deployment': ({ facts }) => ({
    words: `The device has another update of this component open: ${describe(facts['openDeployment'])}.`,
    change: 'It is the turn of this rollout when that one has ended.',
  }),
  'must-pass-through': ({ facts }) => ({
    words: `${release(facts)} may be installed only from build ${fact(facts, 'minPrevious')} on; the device runs ${fact(facts, 'runs', 'nothing')}, and no published release leads there.`,
    change: 'Publish a release that this device can install and that leads on.',
  }),
  penalty: ({ until }) => ({
    words: `An update of the device failed, or five tries within a day did: it is left alone until ${instant(until)}.`,
    change: 'It passes by itself; fleetseal device lift-penalty DEVICE --reason TEXT ends it now.',
  }),
  'not-in-phase': ({ facts }) => ({
    words: `No open phase takes the device; its place in the rollout is ${fact(facts, 'place')} of 1.`,
    change: 'It is taken when a phase opens that reaches its place, its cohort or its number.',
  }),
  'out-of-window': ({ until }) => ({
    words: until
      ? `Its maintenance windows are closed; its turn in the next one is ${instant(until)}.`
      : 'Its maintenance windows never open again long enough.',
    change: until ? 'It passes by itself.' : 'Change the window of the rollout, device or group.',
  }),
  'other-rollout': ({ facts }) => ({
    words: `Another rollout comes first: ${fact(facts, 'otherRolloutId')}.`,
    change: 'It is the turn of this one after that; a higher priority changes the order.',
  }),
  rate: ({ until }) => ({
    words: `The rollout admits no more devices at the moment${until ? `; there is room again at ${instant(until)}` : ''}.`,
    change: 'It passes by itself; a higher rate lets more through.',
  }),
  'no-slot': () => ({
    words: 'As many devices as may be are at work with an update.',
    change: 'It passes when one of them ends; a higher maxInFlight lets more through.',
  }),
  admitted: ({ facts }) => ({
    words: `Nothing speaks against it: the device is offered ${release(facts)} at its next contact.`,
    change: 'Let the device connect.',
  }),
  queued: () => ({
    words: 'The update is waiting for the device, which has not said yet that it was told.',
    change: 'Let the device connect.',
  }),
  'consent-needed': () => ({
    words: 'The device was told; it waits for its owner, or for its own conditions.',
    change: 'The owner accepts, or the time until it installs by itself passes.',
  }),
  postponed: ({ until }) => ({
    words: `The owner put it off${until ? ` until ${instant(until)}` : ''}.`,
    change: 'It passes by itself, or the owner installs it before.',
  }),
  'opted-out': () => ({
    words: 'The owner wants no updates.',
    change: 'The owner opts in again. Of a managed device two people may decide over them.',
  }),
  'under-way': ({ state }) => ({
    words: `The device works on it: ${state}.`,
    change: nothing,
  }),
  ended: ({ state, failure }) => ({
    words: `It has ended: ${state}${failure === null ? '' : ` (${failure})`}.`,
    change:
      state === 'succeeded' ? nothing : 'A rollout meets a device once; make another one for it.',
  }),
}

const release = (facts: Told['facts']) => fact(facts, 'release')
function fact(facts: Told['facts'], name: string, otherwise = 'unknown'): string {
  const value = facts[name]
  return typeof value === 'string' || typeof value === 'number' ? `${value}` : otherwise
}

const instant = (until: Date | undefined) => until?.toISOString() ?? 'later'

function describe(open: unknown): string {
  if (typeof open !== 'object' || open === null) return 'one that goes before this'
  const facts = Object.fromEntries(Object.entries(open))
  return `${fact(facts, 'version')}, ${fact(facts, 'state')}`
}
