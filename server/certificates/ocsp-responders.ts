import { generatePrivateKey, type KeyAlgorithm, keyFamilyIn } from '../../pki/keys.ts'
import { encodeName } from '../../pki/names.ts'
import { type OcspResponder, ocspResponder } from '../../pki/ocsp/answer.ts'
import { softwareSigner } from '../../pki/signer.ts'
import { type Certificate, parseCertificate } from '../../pki/x509/parse.ts'
import { recordAudit } from '../audit/audit.ts'
import type { Authorities, Issuer } from '../authorities/authorities.ts'
import type { Context } from '../context.ts'
import { inTransaction } from '../db/transaction.ts'
import { newId } from '../ids.ts'
import { completeIntent, newIntent, saveIntent } from './intent.ts'

type Deps = Pick<Context, 'db' | 'clock' | 'log'> & { authorities: Authorities }

const validityDays = 7

interface Running {
  responder: OcspResponder
  certificate: Certificate
}

/**
 * The delegated OCSP responders of this process, one for each issuer (RFC 6960 §4.2.2.2). A responder's key lives in memory
 * only, for as long as its certificate, which cannot be revoked: seven days, and another one is made after half of them. Made
 * when somebody asks for the first time.
 */
export class OcspResponders {
  readonly #deps: Deps
  readonly #byIssuer = new Map<string, Running>()
  readonly #making = new Map<string, Promise<Running>>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** @throws DomainError `busy` when none can be made and there is none that is still good */
  async get(issuer: Issuer): Promise<OcspResponder> {
    const now = this.#deps.clock.now()
    const known = this.#byIssuer.get(issuer.id)
    if (known && !isHalfOver(known.certificate, now)) return known.responder
    try {
      return (await this.#make(issuer)).responder
    } catch (error) {
      if (!known || known.certificate.notAfter <= now) throw error
      this.#deps.log.warn({ err: error }, 'the OCSP responder could not be renewed')
      return known.responder
    }
  }

  async #make(issuer: Issuer): Promise<Running> {
    const making = this.#making.get(issuer.id)
    if (making) return await making
    const started = makeResponder(this.#deps, issuer).finally(() => this.#making.delete(issuer.id))
    this.#making.set(issuer.id, started)
    const running = await started
    this.#byIssuer.set(issuer.id, running)
    return running
  }
}

function isHalfOver({ notBefore, notAfter }: Certificate, now: Date): boolean {
  return now.getTime() - notBefore.getTime() > (notAfter.getTime() - notBefore.getTime()) / 2
}

/** Whoever verifies the certificates of an issuer verifies its answers: nothing of a post-quantum chain is weaker. */
function algorithmFor({ certificate }: Issuer): KeyAlgorithm {
  const family = keyFamilyIn(certificate.spki)
  return family === 'ML-DSA-65' || family === 'ML-DSA-87' ? family : 'P-256'
}

async function makeResponder(deps: Deps, issuer: Issuer): Promise<Running> {
  const now = deps.clock.now()
  const signer = softwareSigner(generatePrivateKey(algorithmFor(issuer)))
  const intent = newIntent({
    id: newId(now),
    issuer,
    profile: 'ocsp-responder',
    subject: encodeName({ organization: 'Fleetseal', commonName: 'Fleetseal OCSP' }),
    spki: signer.spki,
    san: [],
    days: validityDays,
    now,
    urls: deps.authorities.urls,
  })
  await inTransaction(deps.db, (tx) => saveIntent(tx, intent))
  const issued = await completeIntent(deps, intent, {
    onIssued: async (tx) => {
      await recordAudit(tx, {
        at: now,
        actor: 'system',
        action: 'certificate.issue',
        subject: intent.id,
        facts: { kind: 'ocsp-responder', notAfter: intent.not_after.toISOString() },
      })
    },
  })
  if (!issued.der) throw new Error('The certificate was abandoned while it was made')
  const certificate = parseCertificate(issued.der)
  return { certificate, responder: ocspResponder(issuer.certificate, certificate, signer) }
}
