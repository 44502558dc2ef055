import { globSync, readFileSync } from 'node:fs'

import { expect, test } from 'vitest'

const imports = /(?:from|import|require)\s*\(?\s*['"]node-forge/
const files = globSync('{server,pki,device-sim,cli,demo,bench,console}/**/*.ts', {
  exclude: (path) => path.includes('node_modules'),
})
const adapter = 'pki/forge.ts'

test('node-forge is known to one adapter only (pki.md section 2)', () => {
  const importers = files.filter((file) => imports.test(readFileSync(file, 'utf8')))
  expect(importers).toEqual([adapter])
})

test('the adapter leaves RSA, chains and signatures to node:crypto and to our own code', () => {
  const text = readFileSync(adapter, 'utf8')
  const used = new Set([...text.matchAll(/\bforge\.(\w+\.\w+)/g)].map(([, name]) => name))
  const allowed = ['asn1.fromDer', 'asn1.Asn1', 'pkcs7.messageFromAsn1']
  const buffers = ['util.createBuffer', 'util.ByteStringBuffer']
  expect([...used].filter((name) => name && ![...allowed, ...buffers].includes(name))).toEqual([])
})
