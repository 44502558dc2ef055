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
    ? warning('storage', what, fixes[step])
    : error('storage', what, fixOf(fault))
}

const fixes = {
  write: 'Allow the keys s3:PutObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads',
  read: 'Allow the keys s3:GetObject and s3:ListBucket',
  remove:
    'Allow the keys s3:DeleteObject: what uploads leave behind stays in the bucket until then',
} as const

function fixOf({ step, status }: RemoteFault): string {
  if (status === 404) return 'Make the bucket, or set FLEETSEAL_S3_BUCKET to the one that is meant'
  if (status === 301 || status === 307 || status === 400) {
    return 'Set FLEETSEAL_S3_REGION and FLEETSEAL_S3_PATH_STYLE as the store wants them (docs/storage.md)'
  }
  return `${fixes[step]}; see that the keys are valid and that the clock of this machine is right`
}
