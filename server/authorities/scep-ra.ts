import { createPrivateKey, type KeyObject } from 'node:crypto'

import { idOfCertificate } from '../../pki/cms/certificate-id.ts'
import { type RsaDecrypter, softwareDecrypter } from '../../pki/forge.ts'
import { generatePrivateKey, keyFamilyIn, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import type { ScepResponder } from '../../pki/scep/reply.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { unwrapKey, wrapKey } from '../../pki/wrap.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import { completeIntent, newIntent, saveIntent } from '../certificates/intent.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { newId } from '../ids.ts'
import type { Issuer } from './authorities.ts'
import { assertKek } from './kek-check.ts'
import { serverKeyContext } from './server-certificate.ts'
import { insertServerIdentity, listServerIdentities, type ServerIdentityRow } from './store.ts'

/** Who SCEP messages are encrypted to, and who signs the answers: RSA, because SCEP knows nothing else. */
export interface RegistrationAuthority {
  notAfter: Date
  responder: ScepResponder
  decrypter: RsaDecrypter
}

type Deps = Pick<Context, 'db' | 'clock' | 'log' | 'config' | 'kek' | 'authorities'>

const validityDays = 397
const renewBeforeMs = 90 * 86_400_000

/**
 * The registration authority below the issuer of devices of a series, made when it is first asked for and renewed in time. Those
 * before it follow while they are valid: devices keep the certificate they fetched.
 *
 * @returns newest first, at least one
 * @throws DomainError `busy`
 */
export async function registrationAuthorities(
  deps: Deps,
  series: string | null,
): Promise<readonly [RegistrationAuthority, ...RegistrationAuthority[]]> {
  const now = deps.clock.now()
  const issuer = deps.authorities.deviceIssuer(series)
  const rows = await listServerIdentities(deps.db, issuer.id)
  const known = rows
    .filter(({ der }) => keyFamilyIn(parseCertificate(der).spki) === 'RSA')
    .map((row) => open(deps, row))
    .filter(({ notAfter }) => notAfter > now)
  const [newest, ...older] = known
  const isFresh = newest && newest.notAfter.getTime() - now.getTime() > renewBeforeMs
  return isFresh ? [newest, ...older] : [await issue(deps, issuer), ...known]
}

function open({ kek }: Deps, row: ServerIdentityRow): RegistrationAuthority {
  const pkcs8 = unwrapKey(kek, row.wrapped_key, serverKeyContext(row.certificate_id))
  return authority(row.der, createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }))
}

function authority(certificate: Buffer, key: KeyObject): RegistrationAuthority {
  const { notAfter } = parseCertificate(certificate)
  const decrypter = softwareDecrypter(key, idOfCertificate(certificate))
  return { notAfter, responder: { certificate, signer: softwareSigner(key) }, decrypter }
}

async function issue(deps: Deps, issuer: Issuer): Promise<RegistrationAuthority> {
  const { db, clock, log, kek, authorities } = deps
  const now = clock.now()
  const key = generatePrivateKey('RSA-3072')
  const intent = newIntent({
    id: newId(now),
    issuer,
    profile: 'scep-ra',
    subject: encodeName({ organization: 'Fleetseal', commonName: 'SCEP registration authority' }),
    spki: spkiOf(key),
    san: [],
    days: validityDays,
    now,
    urls: authorities.urls,
  })
  const pkcs8 = key.export({ type: 'pkcs8', format: 'der' })
  await inTransaction(db, async (tx) => {
    await assertKek(tx, kek)
    await saveIntent(tx, intent)
    await insertServerIdentity(tx, {
      certificate_id: intent.id,
      wrapped_key: wrapKey(kek, pkcs8, serverKeyContext(intent.id)),
      created_at: now,
    })
  })
  const facts = { kind: 'scep-ra', notAfter: intent.not_after.toISOString() }
  const issued = await completeIntent(deps, intent, {
    onIssued: async (tx) => {
      const action = 'certificate.issue'
      await recordAudit(tx, { at: now, actor: 'system', action, subject: intent.id, facts })
    },
  })
  if (!issued.der) throw new Error('The registration authority was abandoned while it was made')
  log.info({ notAfter: issued.not_after }, 'issued a registration authority for SCEP')
  return authority(issued.der, key)
}
