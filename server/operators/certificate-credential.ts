import { toGrants } from '../access/grants.ts'
import type { Context } from '../context.ts'
import { fingerprintOf } from './certificate-service.ts'
import { findCertificate, type OperatorCertificate, touchCertificate } from './certificate-store.ts'
import type { Credential, Refused } from './credential.ts'
import { voiceOf } from './voice.ts'

/**
 * A client certificate that was registered (TLS has proven that its key is there). Known by its fingerprint alone: no name in it, and nobody who signed it,
 * means anything. Looked up for each request, and so for each resumed TLS session.
 */
export function certificateCredential({ db }: Pick<Context, 'db'>, der: Buffer): Credential {
  const fingerprint = fingerprintOf(der)
  return {
    name: fingerprint.toString('hex'),
    lookUp: async (now) => {
      const found = await findCertificate(db, fingerprint)
      const refusal = refusalOf(found, now)
      if (found === undefined || refusal !== undefined) {
        return refused(refusal ?? 'unknown-certificate', fingerprint, found)
      }
      const id = `certificate:${found.id}`
      return {
        actor: {
          id,
          voice: voiceOf(id, found),
          name: found.name,
          grants: toGrants(found.grants),
        },
        lastUsedAt: found.last_used_at,
        touch: (tx, times) => touchCertificate(tx, found.id, times),
      }
    },
  }
}

function refusalOf(found: OperatorCertificate | undefined, now: Date): string | undefined {
  if (!found) return 'unknown-certificate'
  if (found.revoked_at) return 'revoked-certificate'
  if (found.not_after <= now) return 'expired-certificate'
  if (found.not_before > now) return 'certificate-not-valid-yet'
  return found.owner_state === 'disabled' ? 'disabled-owner' : undefined
}

function refused(
  refusal: string,
  fingerprint: Buffer,
  found: OperatorCertificate | undefined,
): Refused {
  const facts = {
    fingerprint: fingerprint.toString('hex'),
    ...(found ? { certificateId: found.id, name: found.name } : {}),
  }
  // Nobody guesses a certificate: its key was shown.
  return { refusal, kind: 'operator-certificate-refused', facts, isGuess: false }
}
