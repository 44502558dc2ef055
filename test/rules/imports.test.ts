import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path/posix'

import { expect, test } from 'vitest'

/**
 * Which part of the system may import which. This table is the architecture (architecture.md §4);
 * the first pattern that matches a file decides.
 */
const layers: [file: RegExp, mayImport: RegExp, because: string][] = [
  [/^pki\//, /^pki\//, 'pki is a library: bytes and keys in, bytes and verdicts out'],
  [
    /^console\//,
    /^(console\/|server\/protocol\/|server\/[^/]+\/(([a-z-]+-)?wire|state)\.ts$)/,
    'the console shares schemas and state tables, nothing that runs on a server',
  ],
  [/^client\//, /^client\//, 'the client is what the description of the interface is made into'],
  [
    /^cli\//,
    /^(cli|client|pki|server\/protocol)\/|^server\/[^/]+\/(([a-z-]+-)?wire|state)\.ts$/,
    'the command line speaks to the server by its interface only',
  ],
  [
    /^device-sim\//,
    /^(device-sim|pki|server\/protocol)\//,
    'a device knows the protocol, never the server',
  ],
  [
    /^server\/protocol\//,
    /^server\/protocol\//,
    'the protocol is what a device and the server agree on',
  ],
  [
    /^server\/[^/]+\/state\.ts$/,
    /^server\/(errors\.ts$|protocol\/|[^/]+\/state\.ts$)/,
    'a state machine is pure',
  ],
  [
    /^server\/[^/]+\/([a-z-]+-)?wire\.ts$/,
    /^server\/([^/]+\/(([a-z-]+-)?wire|state)\.ts$|protocol\/)/,
    'wire schemas also run in a browser',
  ],
  [
    /^server\/[^/]+\/([a-z-]+-)?store\.ts$/,
    /^server\/(db\/|protocol\/|errors\.ts$|ids\.ts$|[^/]+\/state\.ts$)/,
    'a store speaks SQL and nothing else',
  ],
  [/^server\/db\//, /^server\/(db\/|protocol\/|[^/]+\/state\.ts$)/, 'db is below every slice'],
  [
    /^server\/http\/(app|device-app|public-app|schema-names)\.ts$/,
    /^(server|pki)\//,
    'the apps are where slices are mounted',
  ],
  [
    /^server\/(http|mqtt)\//,
    /^server\/((http|mqtt|protocol|db)\/|events\/record\.ts$|[^/]+\.ts$)/,
    'an edge does not know the slices behind it',
  ],
  [/^server\//, /^(server|pki)\//, 'the server never imports a simulator, a test or the console'],
  [/^demo\//, /^(demo|cli|device-sim|pki|server)\//, 'the demonstration plays every part'],
  [/^(test|bench)\//, /./, 'tests and measurements may look anywhere'],
]

const importsOf = /(?:from|import)\s*\(?\s*'(\.[^']+)'/g
const graph = globSync('{server,pki,device-sim,client,cli,demo,bench,console,test}/**/*.ts', {
  exclude: (path) => path.includes('node_modules'),
}).map((file) => ({
  file,
  targets: [...readFileSync(file, 'utf8').matchAll(importsOf)].map(([, path = '']) =>
    join(dirname(file), path),
  ),
}))

const illegal = (file: string, targets: readonly string[]) => {
  const layer = layers.find(([pattern]) => pattern.test(file))
  if (!layer) throw new Error(`${file} belongs to no layer; add one to the table`)
  const [, mayImport, because] = layer
  return targets
    .filter((target) => !mayImport.test(target))
    .map((target) => `${file} -> ${target}: ${because}`)
}

test('there is something to look at', () => {
  expect(graph.length).toBeGreaterThan(50)
  expect(graph.flatMap(({ targets }) => targets).length).toBeGreaterThan(100)
})

test('the table catches what it is for', () => {
  expect(illegal('pki/x509/parse.ts', ['server/errors.ts'])).toHaveLength(1)
  expect(illegal('server/groups/store.ts', ['server/clock.ts'])).toHaveLength(1)
  expect(illegal('server/http/route.ts', ['server/groups/routes.ts'])).toHaveLength(1)
  expect(illegal('device-sim/agent.ts', ['server/groups/service.ts'])).toHaveLength(1)
  expect(illegal('cli/main.ts', ['server/groups/service.ts'])).toHaveLength(1)
})

test('every file imports only what its layer allows', () => {
  expect(graph.flatMap(({ file, targets }) => illegal(file, targets))).toEqual([])
})

test('every relative import names a file that exists, with its ending', () => {
  const missing = graph.flatMap(({ file, targets }) =>
    targets.filter((target) => !existsSync(target)).map((target) => `${file} -> ${target}`),
  )
  expect(missing).toEqual([])
})

test("a slice's store is private to the slice", () => {
  const intruders = graph.flatMap(({ file, targets }) =>
    targets
      .filter(
        (target) =>
          /\/([a-z-]+-)?store\.ts$/.test(target) &&
          target.startsWith('server/') &&
          dirname(target) !== dirname(file) &&
          !file.startsWith('test/'),
      )
      .map((target) => `${file} -> ${target}`),
  )
  expect(intruders).toEqual([])
})
