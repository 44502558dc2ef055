import { AuthorityView } from '../server/authorities/wire.ts'
import { DeviceView } from '../server/devices/wire.ts'
import { ProfileView } from '../server/enrollment/wire.ts'
import { GroupView } from '../server/groups/wire.ts'
import { ReleaseView } from '../server/releases/wire.ts'
import { RolloutView } from '../server/rollouts/wire.ts'
import type { ApiClient } from './api.ts'
import { Failure, usageError } from './failure.ts'
import { Page } from './page.ts'

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

export function isId(text: string): boolean {
  return uuid.test(text)
}

/** The id of a group that is given by id or by its exact name. */
export async function groupId(client: ApiClient, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  for await (const group of client.list(Page(GroupView), '/groups', { name: given }))
    return group.id
  throw notFound('group', given)
}

/** The id of a device that is given by id or by its exact serial number. */
export async function deviceId(client: ApiClient, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  for await (const device of client.list(Page(DeviceView), '/devices', { query: given })) {
    if (device.serialNumber === given) return device.id
  }
  throw notFound('device', given)
}

/** The id of an authority that is given by id or by its exact name. */
export async function authorityId(client: ApiClient, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  for await (const authority of client.list(Page(AuthorityView), '/authorities')) {
    if (authority.name === given) return authority.id
  }
  throw new Failure('not-found', `There is no authority ${given}`, {
    nextStep: 'fleetseal authority list',
  })
}

/** The id of a rollout that is given by id or by name; names of rollouts need not be unique, so a second one is refused. */
export async function rolloutId(client: ApiClient, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  const found: string[] = []
  for await (const rollout of client.list(Page(RolloutView), '/rollouts', { atMost: 1_000 })) {
    if (rollout.name === given) found.push(rollout.id)
  }
  const [id, second] = found
  if (id === undefined) throw notFound('rollout', given)
  if (second === undefined) return id
  throw usageError(`There are ${found.length} rollouts ${given}`, `Use an id: ${found.join(', ')}`)
}

/** The id of an enrollment profile that is given by id or name. */
export async function profileId(client: ApiClient, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  for await (const profile of client.list(Page(ProfileView), '/enrollment-profiles')) {
    if (profile.name === given) return profile.id
  }
  throw notFound('enrollment', given)
}

/** The id of a release that is given by id or as MODEL/COMPONENT/VERSION; a withdrawn one only by id. */
export async function releaseId(client: ApiClient, given: string): Promise<string> {
  if (isId(given)) return given.toLowerCase()
  const [model, component, version] = given.split('/')
  if (!model || !component || !version) throw notFound('release', given)
  for await (const release of client.list(Page(ReleaseView), '/releases', { model })) {
    const isIt = release.component === component && release.version === version
    if (isIt && release.state !== 'withdrawn') return release.id
  }
  throw notFound('release', given)
}

function notFound(noun: string, given: string): Failure {
  return new Failure('not-found', `There is no ${noun} ${given}`, {
    nextStep: `fleetseal ${noun} list`,
  })
}
