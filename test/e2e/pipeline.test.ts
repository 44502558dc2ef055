import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { DeviceAgent } from '../../device-sim/agent.ts'
import { enrollDevice } from '../../device-sim/enroll.ts'
import { hardwareId, model, openSite, publishRelease, type Site } from '../support/operator.ts'
import { type RunningServer, startServer } from '../support/server.ts'

/* The step of docs/pipelines.md, as it stands there, by a shell. */
let server: RunningServer
let site: Site
let agent: DeviceAgent
let folder: string

beforeAll(async () => {
  server = await startServer()
  site = await openSite(server)
  folder = join(server.dataDir, '..', 'pipeline')
  await mkdir(folder)
  const page = await readFile('docs/pipelines.md', 'utf8')
  const step = /```sh\n(#!\/bin\/sh\n[^`]+)```/.exec(page)?.[1] ?? 'exit 99'
  await writeFile(join(folder, 'step.sh'), step)
  const line = [process.execPath, resolve('cli/main.ts')].map((word) => `'${word}'`).join(' ')
  await writeFile(join(folder, 'fleetseal'), `#!/bin/sh\nexec ${line} "$@"\n`)
  await chmod(join(folder, 'fleetseal'), 0o700)
  const dir = join(folder, 'device')
  await enrollDevice({
    dir,
    root: await readFile(server.ca, 'utf8'),
    imageRoot: site.imageRoot,
    directorRoot: site.directorRoot,
    profile: site.profile,
    token: site.token,
    config: {
      format: 1,
      serverHost: 'localhost',
      devicePort: server.ports.device,
      mqttPort: server.ports.mqtt,
      model,
      hardwareIds: [hardwareId],
      components: { main: { version: '1.0.0', build: 100, svn: 1 } },
      serialNumber: 'PIPE-1',
      allowEvaluation: true,
      helloRetryMs: 2_000,
      reconnectMaxMs: 500,
    },
  })
  agent = new DeviceAgent({ dir, behavior: {} })
  await agent.start()
}, 120_000)
afterAll(async () => {
  await agent?.stop()
  await server[Symbol.asyncDispose]()
})

/** Runs the step as a pipeline would. */
async function run(environment: Record<string, string>) {
  const env = {
    PATH: `${folder}:${process.env['PATH']}`,
    FLEETSEAL_SERVER: `https://localhost:${server.ports.api}`,
    FLEETSEAL_API_KEY: join(server.dataDir, 'admin-api-key'),
    FLEETSEAL_CA: server.ca,
    GROUP: 'lab',
    // There is one device, and it has to be among the first.
    CANARY: '1',
    WAIT_LIMIT: '2m',
    ...environment,
  }
  return await new Promise<{ code: number; out: string; err: string }>((done) => {
    const step = execFile('sh', ['step.sh'], { cwd: folder, env }, (_error, out, err) =>
      done({ code: step.exitCode ?? 99, out, err }),
    )
  })
}

async function release(build: number): Promise<string> {
  const version = `2.0.${build}`
  const more = { image: randomBytes(10_000), metadataVersion: build - 100 }
  await publishRelease(site, { version, build, ...more })
  return `${model}/main/${version}`
}

test(
  'the step rolls out and waits; run again, it is the same rollout',
  { timeout: 180_000 },
  async () => {
    const RELEASE = await release(101)
    const first = await run({ RELEASE, CI_PIPELINE_ID: '1' })
    expect(first, first.err).toMatchObject({ code: 0, out: 'everybody has it\n' })
    const shown = JSON.parse(await readFile(join(folder, 'rollout.json'), 'utf8')) as object
    expect(shown).toMatchObject({ state: 'completed', succeeded: 1 })
    expect(await run({ RELEASE, CI_PIPELINE_ID: '1' })).toMatchObject({ code: 0 })
    expect(JSON.parse(await readFile(join(folder, 'rollout.json'), 'utf8'))).toEqual(shown)
  },
)

test(
  'one that is stopped, and one that is cancelled, end the step with a word',
  { timeout: 180_000 },
  async () => {
    // Nobody is in it, so it runs until somebody does something.
    const { fleetseal } = site.operator
    await fleetseal('group', 'create', 'empty')
    const RELEASE = await release(102)
    const environment = { RELEASE, GROUP: 'empty', CI_PIPELINE_ID: '2' }
    const name = RELEASE
    const timed = await run({ ...environment, WAIT_LIMIT: '0m' })
    expect(timed, timed.err).toMatchObject({ code: 8 })
    await fleetseal('rollout', 'pause', name, '--reason', 'lunch')
    // Starting what is paused is refused: a person decided.
    expect((await run(environment)).code).toBe(1)
    await expect(fleetseal('rollout', 'wait', name)).rejects.toThrow('ended with 5')
    await fleetseal('rollout', 'resume', name)
    await fleetseal('rollout', 'resume', name)
    await fleetseal('rollout', 'cancel', name)
    await fleetseal('rollout', 'cancel', name)
    await expect(fleetseal('rollout', 'wait', name)).rejects.toThrow('ended with 7')
  },
)
