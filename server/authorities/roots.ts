import { oids } from '../../pki/der/oids.ts'
import { PkiError } from '../../pki/errors.ts'
import { readName } from '../../pki/names.ts'
import { fromPem } from '../../pki/pem.ts'
import { verifySignature } from '../../pki/signer.ts'
import { lintTbs } from '../../pki/x509/lint.ts'
import { type Certificate, fingerprint, parseCertificate } from '../../pki/x509/parse.ts'
import type { ProfileName } from '../../pki/x509/profiles.ts'
import { crossCertify } from '../../pki/x509/rollover.ts'
import type { Root } from './authorities.ts'
import {
  addAuthority,
  announceAuthorities,
  type AuthorityDeps,
  type By,
  changing,
  refusing,
} from './changes.ts'
import { untouched } from './hierarchy.ts'
import { defaultSeries } from './state.ts'
import { type AuthorityRow, insertRootLinks, listAuthorities } from './store.ts'

const maxCertificates = 3

/**
 * Takes a root whose key stays elsewhere, prepared to take over. The file is what `fleetseal ceremony rollover` writes: the
 * root, OldWithNew, and NewWithOld unless the key of the active root is here to make it. The same root again is the same
 * authority.
 *
 * @throws DomainError `invalid-request`
 */
export async function importRoot(
  ctx: AuthorityDeps,
  { id, file, ...by }: By & { id: string; file: string },
): Promise<AuthorityRow> {
  const old = ctx.authorities.root
  const { root, links } = await refusing(async () => {
    const read = readRootFile(file)
    return { root: read.root, links: await connect(read, old) }
  })
  const now = ctx.clock.now()
  const row: AuthorityRow = {
    id,
    purpose: 'root',
    name: nameOf(root),
    state: 'prepared',
    series: defaultSeries,
    issuer_id: null,
    certificate: root.der,
    wrapped_key: null,
    key_uri: null,
    ...untouched,
    created_at: now,
    changed_at: now,
  }
  const added = await changing(ctx, async (tx) => {
    const known = (await listAuthorities(tx)).find(({ certificate }) =>
      certificate.equals(root.der),
    )
    if (known) return known
    const facts = { fingerprint: fingerprint(root.der), notAfter: root.notAfter.toISOString() }
    const stored = await addAuthority(tx, row, { ...by, facts })
    await insertRootLinks(tx, [
      {
        old_id: old.id,
        new_id: id,
        old_with_new: links.oldWithNew,
        new_with_old: links.newWithOld,
      },
    ])
    return stored
  })
  await announceAuthorities(ctx, [added.id])
  return added
}

/** For people who read lists. */
export function nameOf({ subject, der }: Certificate): string {
  const name = readName(subject).find(({ oid }) => oid === oids.commonName)
  return name?.value ?? fingerprint(der).slice(0, 16)
}

interface RootFile {
  root: Certificate
  bridges: Certificate[]
}

/** @throws PkiError `pem`, `der`, `certificate` */
export function readRootFile(file: string): RootFile {
  const certificates = fromPem(file, 'CERTIFICATE').map(parseCertificate)
  const roots = certificates.filter(({ subject, issuer, spki, tbs, signature, ...rest }) => {
    const isOwn = verifySignature(rest.signatureAlgorithm, spki, tbs, signature)
    return subject.equals(issuer) && isOwn
  })
  const [root, ...more] = roots
  if (!root || more.length > 0 || certificates.length > maxCertificates) {
    throw new PkiError(
      'pem',
      'The file must hold one root certificate, and beside it only those that connect it to the root before',
    )
  }
  assertClean(root, 'root', undefined)
  return { root, bridges: certificates.filter((certificate) => certificate !== root) }
}

async function connect({ root, bridges }: RootFile, old: Root) {
  if (root.notAfter <= old.certificate.notAfter) {
    throw new PkiError('profile', 'The new root must outlive the active one')
  }
  const oldWithNew = findBridge(bridges, { of: old.certificate, by: root })
  if (!oldWithNew) {
    throw new PkiError(
      'certificate',
      'The certificate of the active root by the new one is missing: use fleetseal ceremony rollover',
    )
  }
  const found = findBridge(bridges, { of: root, by: old.certificate })
  if (found) return { oldWithNew: oldWithNew.der, newWithOld: found.der }
  if (!old.signer) {
    throw new PkiError(
      'certificate',
      'The certificate of the new root by the active one is missing: use fleetseal ceremony rollover with both',
    )
  }
  const by = { certificate: old.certificate, signer: old.signer }
  return { oldWithNew: oldWithNew.der, newWithOld: await crossCertify(root, by) }
}

function findBridge(
  bridges: readonly Certificate[],
  { of, by }: { of: Certificate; by: Certificate },
): Certificate | undefined {
  return bridges.find((bridge) => {
    const isIt = bridge.subject.equals(of.subject) && bridge.spki.equals(of.spki)
    const { signatureAlgorithm, tbs, signature } = bridge
    if (!isIt || !verifySignature(signatureAlgorithm, by.spki, tbs, signature)) return false
    assertClean(bridge, 'cross', by)
    return true
  })
}

function assertClean(
  certificate: Certificate,
  profile: ProfileName,
  issuer: Certificate | undefined,
): void {
  const findings = lintTbs(certificate.tbs, profile, issuer)
  if (findings.length > 0) throw new PkiError('certificate', findings.slice(0, 5).join('; '))
}
