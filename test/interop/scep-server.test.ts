import { createPrivateKey, randomBytes } from 'node:crypto'

import { expect, test } from 'vitest'

import { fromPem, toPem } from '../../pki/pem.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { createChallenge } from '../../server/enrollment/challenge.ts'
import { newId } from '../../server/ids.ts'
import { setScepPolicy } from '../../server/scep/policy.ts'
import { ScepPolicyBody } from '../../server/scep/wire.ts'
import { createTestDatabase } from '../support/database.ts'
import { listenForDevices } from '../support/est-client.ts'
import { by, createIdentityWorld } from '../support/identity-world.ts'
import { openssl, opensslAccepts, opensslVersion, scratchDirectory } from '../support/openssl.ts'
import { scepClient } from '../support/scep-client.ts'

const config = `[req]
distinguished_name = dn
attributes = attributes
prompt = no
[dn]
CN = PUMP-7
[attributes]
challengePassword = CHALLENGE
`

test.skipIf(!opensslVersion)(
  'openssl makes key, certificate and request, and opens the answer of the SCEP server',
  async () => {
    await using handle = await createTestDatabase()
    await using world = await createIdentityWorld(handle)
    const { ctx } = world
    await using listeners = await listenForDevices(ctx)
    using files = scratchDirectory()
    const line = await world.givenProfile()
    const body = ScepPolicyBody.parse({ enabled: true })
    await setScepPolicy(ctx, { profileId: line.id, body, ...by })
    const now = ctx.clock.now()
    const { challenge } = await createChallenge(ctx, {
      id: newId(now),
      profileId: line.id,
      serialNumber: 'PUMP-7',
      expiresAt: new Date(now.getTime() + 60_000),
      ...by,
    })

    const settings = files.write('req.conf', config.replace('CHALLENGE', challenge))
    const key = files.write('key.pem', openssl('genrsa', '2048'))
    const request = openssl('req', '-new', '-config', settings, '-key', key, '-outform', 'DER')
    const own = openssl('req', '-x509', '-config', settings, '-key', key, '-days', '30')
    const ownFile = files.write('own.pem', own)
    const [certificate = Buffer.alloc(0)] = fromPem(own.toString(), 'CERTIFICATE')

    const server = { port: listeners.device.port, ca: ctx.authorities.rootPem }
    const scep = scepClient(server, line.name)
    const message = await scep.build({
      question: { type: 'PKCSReq', csr: request },
      party: { key: createPrivateKey(openssl('rsa', '-in', key)), certificate },
      transactionId: randomBytes(8).toString('hex'),
    })
    const answer = files.write(
      'answer.der',
      (await scep.call('?operation=PKIOperation', message)).body,
    )
    const ra = files.write('ra.pem', toPem('CERTIFICATE', await scep.ra()))
    const signed = ['cms', '-verify', '-inform', 'DER', '-in', answer, '-binary']
    const root = files.write('root.pem', ctx.authorities.rootPem)
    const devices = files.write('devices.pem', toPem('CERTIFICATE', ctx.authorities.devices.der))
    const both = ctx.authorities.rootPem + toPem('CERTIFICATE', ctx.authorities.devices.der)
    const trusted = ['-CAfile', files.write('both.pem', both), '-purpose', 'any']
    const envelope = files.write('envelope.der', openssl(...signed, ...trusted))
    expect(opensslAccepts('verify', '-CAfile', root, '-untrusted', devices, ra)).toBe(true)
    const decrypt = ['cms', '-decrypt', '-inform', 'DER', '-in', envelope, '-binary']
    const opened = openssl(...decrypt, '-recip', ownFile, '-inkey', key)
    const chain = files.write('chain.der', opened)
    const pem = openssl('pkcs7', '-inform', 'DER', '-in', chain, '-print_certs').toString()
    const leaf = fromPem(pem, 'CERTIFICATE').find((der) => !parseCertificate(der).isCa)
    const leafFile = files.write('leaf.pem', toPem('CERTIFICATE', leaf ?? Buffer.alloc(0)))
    const verify = ['verify', '-x509_strict', '-purpose', 'sslclient', '-CAfile', root]
    expect(openssl(...verify, '-untrusted', devices, leafFile).toString()).toContain('OK')
  },
)
