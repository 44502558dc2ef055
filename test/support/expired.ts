import { createPrivateKey } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { generatePrivateKey, spkiOf } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { toPem } from '../../pki/pem.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { unwrapKey } from '../../pki/wrap.ts'
import { newSerial, signCertificate } from '../../pki/x509/issue.ts'
import { parseCertificate } from '../../pki/x509/parse.ts'
import { buildTbs, deviceIdentity } from '../../pki/x509/profiles.ts'
import { authorityKeyContext } from '../../server/authorities/authority-key.ts'
import type { Db } from '../../server/db/client.ts'
import type { RunningServer } from './server.ts'

/**
 * A device certificate as the server itself would have issued it a year ago: signed with its real issuer key, which only a
 * test can reach, and over for a day. Written to `folder` as expired.pem and expired.key.
 */
export async function makeExpired(
  server: RunningServer,
  db: Db,
  deviceId: string,
  folder: string,
): Promise<{ cert: string; key: string }> {
  const row = await db
    .selectFrom('authority')
    .selectAll()
    .where('purpose', '=', 'devices')
    .executeTakeFirstOrThrow()
  const kek = await readFile(join(server.dataDir, 'kek'))
  if (!row.wrapped_key) throw new Error('The issuer has no key here')
  const pkcs8 = unwrapKey(kek, row.wrapped_key, authorityKeyContext(row.id))
  const signer = softwareSigner(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }))
  const issuer = parseCertificate(row.certificate)
  if (!issuer.subjectKeyId) throw new Error('The issuer has no key identifier')
  const key = generatePrivateKey('P-256')
  const day = 86_400_000
  const at = Math.floor(Date.now() / 1_000) * 1_000
  const base = `http://localhost:${server.ports.public}`
  const tbs = buildTbs('device', {
    serial: newSerial(),
    issuer: { name: issuer.subject, keyId: issuer.subjectKeyId },
    subject: encodeName({ commonName: 'expired', serialNumber: 'expired' }),
    spki: spkiOf(key),
    notBefore: new Date(at - 90 * day),
    notAfter: new Date(at - day),
    san: [deviceIdentity(deviceId)],
    crlUrl: `${base}/crl/${row.id}.crl`,
    aiaUrl: `${base}/ca/${row.id}.cer`,
    signatureAlgorithm: signer.algorithm,
  })
  const files = { cert: join(folder, 'expired.pem'), key: join(folder, 'expired.key') }
  await writeFile(files.cert, toPem('CERTIFICATE', await signCertificate(tbs, signer)))
  await writeFile(files.key, key.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 })
  return files
}
