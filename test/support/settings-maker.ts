import { buildModelTargets, configDelegation } from '../../pki/tuf/build.ts'
import type { DirectorTarget, ImageTarget, Match } from '../../pki/tuf/types.ts'
import { World } from './tuf-fixture.ts'
import { sha256, signers } from './tuf-repository.ts'

interface File {
  content: string
  build?: number
}

/** A maker who signs settings for the fleet, and a director that says what one device gets. */
export class Maker {
  readonly world = new World()
  readonly signed: Record<string, ImageTarget> = {}

  constructor() {
    const { world } = this
    world.delegations.push(configDelegation('gate-2', signers(world.release, 2)))
    world.publishDelegations()
    world.publishFirmware()
  }

  /** Signed offline. Gives the path. */
  sign(kind: 'config' | 'cfgschema', file: File): string {
    const path = `${kind === 'config' ? 'cfg' : kind}/gate-2/${file.build ?? 1}/${kind}.json`
    this.signed[path] = this.targetOf(kind, file)
    const { image, release } = this.world
    const held = image.files.get('cfg-gate-2')?.version ?? 0
    const version = image.next('model', held)
    const bytes = buildModelTargets({ ...version, model: 'gate-2', targets: this.signed })
    image.put('cfg-gate-2', bytes, { keys: release.slice(0, 2) })
    this.world.publishSnapshot()
    return path
  }

  targetOf(kind: Match['kind'], { content, build = 1 }: File): ImageTarget {
    this.world.contents.set(sha256(content), content)
    const match: Match = {
      kind,
      model: 'gate-2',
      hardwareIds: ['gate-2-r3'],
      class: 'config',
      build,
      svn: 0,
    }
    const hashes = { sha256: sha256(content) }
    return { length: content.length, hashes, custom: { match, v: 1 } }
  }

  /** Signed by the director, and in all but `overrides` by the maker before. */
  give(
    wanted: { path: string; component: string; target: ImageTarget }[],
    deployment = '0192f3c9-10aa-7b41-8f00-5d2c9be1a0f3',
  ): void {
    this.world.wanted = Object.fromEntries(
      wanted.map(({ path, component, target }): [string, DirectorTarget] => {
        const { length, hashes, custom } = target
        const delivery = [{ m: 'full', length, sha256: hashes['sha256'] ?? '' }]
        const { deviceId } = this.world.device
        return [
          path,
          { length, hashes, custom: { component, delivery, deviceId, match: custom.match, v: 1 } },
        ]
      }),
    )
    this.world.publishWanted({
      change: (signed) => {
        delete signed['x-policy']
        Object.assign(signed, { 'x-main': wanted[0]?.component, 'x-deployment': deployment })
      },
    })
  }

  overrides(content: string, build = 1) {
    const target = this.targetOf('config', { content, build })
    return { path: `cfg/gate-2/${build}/overrides.json`, component: 'overrides', target }
  }

  vouched(kind: 'config' | 'cfgschema', file: File, component: string = kind) {
    const path = this.sign(kind, file)
    return { path, component, target: this.targetOf(kind, file) }
  }
}
