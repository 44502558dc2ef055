import {
  buildDirectorSnapshot,
  buildDirectorTargets,
  buildDirectorTimestamp,
  buildModelTargets,
  buildSnapshot,
  buildTargets,
  buildTimestamp,
  firmwareDelegation,
  type NewDelegation,
} from '../../pki/tuf/build.ts'
import { newTrustedState } from '../../pki/tuf/bundle.ts'
import { latestExpiry } from '../../pki/tuf/publish-check.ts'
import type {
  Bundle,
  DeviceFacts,
  DirectorTarget,
  ImageTarget,
  Match,
  Policy,
  TimeSources,
  TrustedState,
  VerifiedBundle,
} from '../../pki/tuf/types.ts'
import { verifyBundle } from '../../pki/tuf/verify.ts'
import { type Forgery, makeKeys, Repository, sha256, signers } from './tuf-repository.ts'

export const deviceId = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e8'
export const otherDeviceId = '0192f3c4-7d1e-7c3a-9b5e-2f60a1c4d7e9'
export const nonce = '3acbfb9006873f983fc4e78a5cbeb303'

export interface Build {
  version?: string
  build?: number
  svn?: number
  component?: string
  content?: string
  match?: Partial<Match>
}

export const policy: Policy = {
  class: 'security',
  auto: true,
  notify: true,
  consent: 'none',
  optOut: 'honored',
  urgency: 'normal',
  quiet: [],
  window: [],
  postpone: { eachH: 72, graceH: 48, maxCount: 5, totalH: 336 },
  advisory: { id: 'FS-2026-017', severity: 'high', url: '/a/2026-017' },
}

export interface Attempt {
  state?: TrustedState
  bundle?: Bundle
  device?: Partial<DeviceFacts>
  now?: TimeSources
}

/** A manufacturer, a server and a device. Honest until a test takes a key and does something else. */
export class World {
  now: Date
  readonly image: Repository
  readonly director: Repository
  release = makeKeys(3)
  delegations: NewDelegation[] = []
  builds: Record<string, ImageTarget> = {}
  wanted: Record<string, DirectorTarget> = {}
  /** By lower-hex SHA-256, what the builds are. */
  readonly contents = new Map<string, string>()
  readonly device: DeviceFacts

  constructor({ evaluation = false, now = new Date('2026-11-23T09:00:00Z') } = {}) {
    this.now = now
    this.image = new Repository(() => this.now, { targetsThreshold: 2, evaluation })
    this.director = new Repository(() => this.now, { targetsThreshold: 1, evaluation })
    this.delegations = [firmwareDelegation('gate-2', signers(this.release, 2))]
    this.device = {
      deviceId,
      model: 'gate-2',
      hardwareIds: ['gate-2-r3'],
      components: { main: { build: 400, svn: 41 }, radio: { build: 205, svn: 0 } },
      allowEvaluation: evaluation,
      firmwareBuildTime: '2026-01-01T00:00:00Z',
    }
  }

  /** A world in which this device is to install build 412, everything published. */
  static honest(options: ConstructorParameters<typeof World>[0] = {}): World {
    const world = new World(options)
    const path = world.addBuild()
    world.publishDelegations()
    world.publishFirmware()
    world.want(path)
    world.publishWanted()
    world.answer()
    return world
  }

  /** Adds a build to what the release keys will sign next; gives its path. */
  addBuild({
    version = '2.4.1',
    build = 412,
    svn = 41,
    component = 'main',
    ...rest
  }: Build = {}): string {
    const { content = `${component} ${version}`, match } = rest
    const path = `fw/${match?.model ?? 'gate-2'}/${version}/${component}.bin`
    this.contents.set(sha256(content), content)
    this.builds[path] = {
      length: content.length,
      hashes: { sha256: sha256(content) },
      custom: {
        match: {
          kind: 'firmware',
          model: 'gate-2',
          hardwareIds: ['gate-2-r3'],
          class: 'security',
          fixes: ['CVE-2026-1234'],
          format: 'raw',
          version,
          build,
          svn,
          ...match,
        },
        v: 1,
      },
    }
    return path
  }

  build(path: string): ImageTarget {
    const build = this.builds[path]
    if (!build) throw new Error(`${path} was never added`)
    return build
  }

  /** The director's word for a build, by default just what the image repository says. */
  want(path: string, custom: Partial<DirectorTarget['custom']> = {}): void {
    const {
      length,
      hashes,
      custom: { match },
    } = this.build(path)
    const component = path.split('/').at(-1)?.split('.')[0] ?? ''
    const delivery = [{ m: 'full', length, sha256: hashes['sha256'] ?? '' }]
    this.wanted[path] = structuredClone({
      length,
      hashes,
      custom: { component, deviceId, delivery, match, v: 1, ...custom },
    })
  }

  publishDelegations({
    keys = this.image.keys.targets.slice(0, 2),
    ...forgery
  }: Forgery = {}): void {
    const signed = buildTargets({ ...this.image.next('targets'), delegations: this.delegations })
    this.image.put('targets', signed, { keys, ...forgery })
    this.publishSnapshot()
  }

  publishFirmware({ keys = this.release.slice(0, 2), ...forgery }: Forgery = {}): void {
    const held = this.image.files.get('fw-gate-2')?.version ?? 0
    const version = this.image.next('model', held)
    const signed = buildModelTargets({ ...version, model: 'gate-2', targets: this.builds })
    this.image.put('fw-gate-2', signed, { keys, ...forgery })
    this.publishSnapshot()
  }

  publishSnapshot({ keys = this.image.keys.snapshot, ...forgery }: Forgery = {}): void {
    const roles = [...this.image.files.keys()].filter(
      (role) => !/^(snapshot|timestamp)$/.test(role),
    )
    const meta = Object.fromEntries(roles.map((role) => [`${role}.json`, this.image.metaOf(role)]))
    this.image.put('snapshot', buildSnapshot({ ...this.image.next('snapshot'), meta }), {
      keys,
      ...forgery,
    })
    this.publishTimestamp()
  }

  publishTimestamp({ keys = this.image.keys.timestamp, ...forgery }: Forgery = {}): void {
    const snapshot = this.image.metaOf('snapshot')
    this.image.put('timestamp', buildTimestamp({ ...this.image.next('timestamp'), snapshot }), {
      keys,
      ...forgery,
    })
  }

  publishWanted({ keys = this.director.keys.targets.slice(0, 1), ...forgery }: Forgery = {}): void {
    const signed = buildDirectorTargets({
      ...this.director.next('targets'),
      expiresAt: latestExpiry('snapshot', this.now),
      deviceId,
      deploymentId: '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3',
      policy,
      targets: this.wanted,
    })
    this.director.put('targets', signed, { keys, ...forgery })
    this.publishDirectorSnapshot()
  }

  publishDirectorSnapshot({ keys = this.director.keys.snapshot, ...forgery }: Forgery = {}): void {
    const targets = this.director.metaOf('targets')
    this.director.put(
      'snapshot',
      buildDirectorSnapshot({ ...this.director.next('snapshot'), targets }),
      {
        keys,
        ...forgery,
      },
    )
    this.answer()
  }

  /** The director timestamp, in answer to the device's nonce unless told otherwise; null: to none. */
  answer({
    keys = this.director.keys.timestamp,
    question = nonce,
    ...forgery
  }: Forgery & { question?: string | null } = {}): void {
    const signed = buildDirectorTimestamp({
      version: this.now.getTime() / 1000,
      expiresAt: latestExpiry('timestamp', this.now),
      snapshot: this.director.metaOf('snapshot'),
      ...(question !== null && { answer: { nonce: question, at: this.now } }),
    })
    this.director.put('timestamp', signed, { keys, ...forgery })
  }

  /** Time goes by and the short-lived files are signed again. */
  later(seconds: number): void {
    this.now = new Date(this.now.getTime() + seconds * 1000)
    this.publishTimestamp()
    this.answer()
  }

  /** What a device holds that left the factory with the first roots. */
  factoryState(): TrustedState {
    const [director = ''] = this.director.roots
    const [image = ''] = this.image.roots
    return newTrustedState({ director, image })
  }

  bundle(): Bundle {
    return { director: this.director.served(), image: this.image.served() }
  }

  verify({
    state = this.factoryState(),
    bundle = this.bundle(),
    device,
    now = { nonce },
  }: Attempt = {}): VerifiedBundle {
    return verifyBundle(state, bundle, { ...this.device, ...device }, now)
  }

  /** What the device trusts after it verified what is published now; a second later for the rest of the world. */
  updatedState(): TrustedState {
    const { state } = this.verify()
    this.later(1)
    return state
  }
}
