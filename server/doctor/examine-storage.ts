import { remedyOf } from '../artifacts/s3-remedy.ts'
import type { RemoteFault } from '../artifacts/storage.ts'
import type { Context } from '../context.ts'
import { error, type Finding, ok, warning } from './finding.ts'

/** The bucket of artifacts: an object is written, read and removed. */
export async function lookAtStorage({ storage }: Pick<Context, 'storage'>): Promise<Finding[]> {
  const { remote } = storage
  if (!remote) return [ok('storage', 'Artifacts are in the data directory')]
  const fault = await remote.probe()
  return [judgeStorage(remote.name, fault)]
}

/** What the store did with the object, judged. */
export function judgeStorage(bucket: string, fault: RemoteFault | undefined): Finding {
  if (!fault)
    return ok('storage', `An object was written, read and removed in the bucket ${bucket}`)
  const { step, status, why } = fault
  if (status === undefined || status >= 500 || status === 429) {
    const what = `The store of artifacts does not answer (${status ?? 'no answer'}, ${why}): uploads and downloads wait for it`
    const fix =
      'See that the store runs, and that this machine reaches FLEETSEAL_S3_ENDPOINT and trusts its certificate'
    return error('storage', what, fix)
  }
  const what = `The bucket ${bucket} refuses to ${step} an object (${status} ${why})`
  return step === 'remove'
    ? warning('storage', what, remedyOf(fault))
    : error('storage', what, remedyOf(fault))
}
