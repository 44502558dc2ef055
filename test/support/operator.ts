import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { createOperator, type Operator } from '../../demo/fleetseal.ts'
import type { RunningServer } from './server.ts'

/** The command line, set up for a running server. */
export function operatorOf(server: RunningServer): Operator {
  return createOperator(
    {
      FLEETSEAL_SERVER: `https://localhost:${server.ports.api}`,
      FLEETSEAL_API_KEY: join(server.dataDir, 'admin-api-key'),
      FLEETSEAL_CA: server.ca,
    },
    () => {},
  )
}

export interface Site {
  operator: Operator
  /** The folder of the offline keys. */
  keys: string
  imageRoot: string
  directorRoot: string
  profile: string
  token: string
}

export const model = 'gate-2'
export const hardwareId = 'gate-2-r3'

/** Evaluation keys, a model, a group `lab`, a profile `line-1` and a token: what every story begins with. */
export async function openSite(server: RunningServer, ...ceremony: string[]): Promise<Site> {
  const operator = operatorOf(server)
  const { fleetseal } = operator
  // Beside the server's data, so that it goes with it.
  const keys = join(server.dataDir, '..', 'keys')
  await fleetseal('sign', 'init', '--keys', keys, '--evaluation', ...ceremony)
  await fleetseal('sign', 'import', '--keys', keys)
  await fleetseal('model', 'create', model, '--hardware-id', hardwareId)
  await fleetseal('sign', 'targets', '--keys', keys, '--confirm', '2')
  await fleetseal('group', 'create', 'lab')
  await fleetseal('enrollment', 'create', 'line-1', '--group', 'lab')
  const { token } = await fleetseal<{ token: string }>('enrollment', 'token', 'line-1')
  const read = async (name: string) => await readFile(join(keys, name), 'utf8')
  return {
    operator,
    keys,
    imageRoot: await read('image.1.root.json'),
    directorRoot: await read('director.1.root.json'),
    profile: 'line-1',
    token,
  }
}

export interface NewRelease {
  version: string
  build: number
  svn?: number
  image: Buffer
  class?: 'security' | 'feature'
  /** What the uploaded file is called. */
  fileName?: string
  /** Of `fw-gate-2`, rises with each release. */
  metadataVersion: number
}

/** Uploads, submits, signs and publishes. Returns the release's id. */
export async function publishRelease(
  { operator, keys }: Site,
  release: NewRelease,
): Promise<string> {
  const { fleetseal } = operator
  const folder = await mkdtemp(join(keys, '..', 'release-'))
  const file = join(folder, release.fileName ?? 'image.bin')
  const advisory = join(folder, 'advisory.json')
  await writeFile(file, release.image)
  await writeFile(
    advisory,
    JSON.stringify({ id: 'FS-1', severity: 'high', url: '/a/1', text: 'Install it.' }),
  )
  const artifact = await fleetseal<{ id: string }>('artifact', 'upload', file)
  const kind = release.class ?? 'security'
  const facts = [
    '--artifact',
    artifact.id,
    '--build',
    `${release.build}`,
    '--svn',
    `${release.svn ?? 1}`,
    '--class',
    kind,
  ]
  // Versions of these tests jump from line to line.
  const mixed = ['--mixed', 'not_technically_feasible', '--mixed-reason', 'One image holds it all.']
  const reasons =
    kind === 'security' ? ['--fixes', 'CVE-2026-1', '--advisory', advisory, ...mixed] : []
  const { id } = await fleetseal<{ id: string }>(
    'release',
    'create',
    `${model}/main/${release.version}`,
    ...facts,
    ...reasons,
  )
  await fleetseal('release', 'submit', id)
  await fleetseal('sign', `fw-${model}`, '--keys', keys, '--confirm', `${release.metadataVersion}`)
  await fleetseal('release', 'publish', id)
  return id
}

export async function startRollout(
  { operator }: Site,
  releaseId: string,
  group = 'lab',
): Promise<string> {
  const what = ['--release', releaseId, '--group', group, '--start']
  return (await operator.fleetseal<{ id: string }>('rollout', 'create', `of ${releaseId}`, ...what))
    .id
}
