import { createPrivateKey } from 'node:crypto'

import { CompactSign } from 'jose'

import type { Report } from '../server/protocol/messages.ts'
import {
  proofAlgorithm,
  type ProofClaims,
  proofType,
  provenStates,
} from '../server/protocol/report-proof.ts'
import type { Device } from './update/device.ts'

/**
 * The report with its proof, when it is one that ends a deployment (updates.md section 4, step 13): signed when it is sent, with
 * the key that the connection shows.
 *
 * @param key PKCS#8 PEM
 * @param counter rises with every message
 */
export async function withProof(
  report: Report,
  { device, key, counter }: { device: Device; key: string; counter: number },
): Promise<Report> {
  if (!(provenStates as readonly string[]).includes(report.state)) return report
  const signer = createPrivateKey(key)
  const algorithm = proofAlgorithm(signer)
  const runs = installedFor(report, device)
  if (algorithm === undefined || !runs) return report
  const { deploymentId, state, at, code } = report
  const claims: ProofClaims = {
    deploymentId,
    state,
    sha256: report.sha256 ?? runs.sha256,
    svn: runs.svn,
    at,
    counter,
    ...(code !== undefined && { code }),
  }
  const proof = await new CompactSign(Buffer.from(JSON.stringify(claims)))
    .setProtectedHeader({ alg: algorithm, typ: proofType })
    .sign(signer)
  return { ...report, proof }
}

function installedFor({ deploymentId }: Report, device: Device) {
  const { task } = device.journal
  const installed = device.installed()
  const component = task?.deploymentId === deploymentId ? task.target.component : undefined
  return installed.find((one) => one.component === component) ?? installed[0]
}
