import type { KeyObject } from 'node:crypto'

import { compactVerify } from 'jose'

import type { Peer } from '../mqtt/message.ts'
import type { Report } from '../protocol/messages.ts'
import { proofAlgorithm, ProofClaims, proofType } from '../protocol/report-proof.ts'

/** A report, and whose key its proof was verified with: SHA-256 of the certificate, lower hex. Without that, a proof is none. */
export type CheckedReport = Report & { provenBy?: string | undefined }

/**
 * Verifies the proof of a report, if there is one, with the key of the certificate that the device showed on this connection
 * (updates.md section 4, step 13). One that does not hold is not marked; storing it is refused.
 */
export function checkProof(report: CheckedReport, peer: Peer): Promise<CheckedReport> | undefined {
  const { proof } = report
  const key = proof === undefined ? undefined : peer.key()
  if (proof === undefined || !key) return undefined
  return holds(report, proof, key).then((isRight) =>
    isRight ? { ...report, provenBy: peer.fingerprint } : report,
  )
}

async function holds(report: Report, proof: string, key: KeyObject): Promise<boolean> {
  const algorithm = proofAlgorithm(key)
  if (algorithm === undefined) return false
  try {
    const { payload, protectedHeader } = await compactVerify(proof, key, {
      algorithms: [algorithm],
    })
    // Another thing that the same key signed proves nothing here.
    if (protectedHeader.typ !== proofType) return false
    const claims = ProofClaims.safeParse(JSON.parse(Buffer.from(payload).toString('utf8')))
    return claims.success && agrees(claims.data, report)
  } catch {
    // Whatever jose or JSON do not like about it, it is no proof.
    return false
  }
}

function agrees(claims: ProofClaims, report: Report): boolean {
  return (
    claims.deploymentId === report.deploymentId &&
    claims.state === report.state &&
    claims.at === report.at &&
    claims.code === report.code &&
    (report.sha256 === undefined || claims.sha256 === report.sha256)
  )
}
