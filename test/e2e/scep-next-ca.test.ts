import { afterAll, beforeAll, expect, test } from 'vitest'

import { readCertsOnly } from '../../pki/cms/certs-only.ts'
import { verifySignedData } from '../../pki/cms/signed-data.ts'
import { actOnAuthority, createAuthority } from '../../server/authorities/service.ts'
import { newId } from '../../server/ids.ts'
import { by } from '../support/identity-world.ts'
import { openScepSite } from '../support/scep-site.ts'

let site: Awaited<ReturnType<typeof openScepSite>>
beforeAll(async () => {
  site = await openScepSite()
})
afterAll(() => site[Symbol.asyncDispose]())

const make = async (series: string) =>
  await createAuthority(site.ctx, {
    id: newId(site.ctx.clock.now()),
    purpose: 'devices',
    series,
    ...by,
  })

test('S1 the next CA is announced and given out while one is prepared, signed by the one that issues', async () => {
  const current = await make('acme')
  const { scep } = await site.givenLine({ issuerSeries: 'acme' })
  const capabilities = async (client = scep) =>
    (await client.call('?operation=GetCACaps')).body.toString().split('\n')
  expect(await capabilities()).not.toContain('GetNextCACert')
  expect((await scep.call('?operation=GetNextCACert')).status).toBe(404)

  const next = await make('acme')
  expect(next.state).toBe('prepared')
  expect(await capabilities()).toContain('GetNextCACert')
  const answer = await scep.call('?operation=GetNextCACert')
  expect([answer.status, answer.contentType]).toEqual([200, 'application/x-x509-next-ca-cert'])
  const issuer = site.ctx.authorities.deviceIssuer('acme')
  expect(issuer.id).toBe(current.id)
  const read = verifySignedData(answer.body, { signerSpki: issuer.certificate.spki })
  expect(read.certificates).toEqual(expect.arrayContaining([current.certificate, next.certificate]))
  expect((await scep.call('?operation=GetNextCACert', Buffer.from('x'))).status).toBe(405)

  // Lines of another series hear nothing of it.
  expect(await capabilities(site.scep)).not.toContain('GetNextCACert')
  expect((await site.scep.call('?operation=GetNextCACert')).status).toBe(404)

  await actOnAuthority(site.ctx, { id: next.id, action: 'activate', ...by })
  expect(await capabilities()).not.toContain('GetNextCACert')
  expect((await scep.call('?operation=GetNextCACert')).status).toBe(404)
  const { body } = await scep.call('?operation=GetCACert')
  expect(readCertsOnly(body)).toContainEqual(next.certificate)
})
