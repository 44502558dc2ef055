import type { RemoteFault } from './storage.ts'

const permissions = {
  write: 'Allow the keys s3:PutObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads',
  read: 'Allow the keys s3:GetObject and s3:ListBucket',
  remove:
    'Allow the keys s3:DeleteObject: what uploads leave behind stays in the bucket until then',
} as const

/** Codes of the S3 API ("Error responses", 2006-03-01) that say more than the status does. */
const remedies: Readonly<Record<string, string>> = {
  InvalidAccessKeyId:
    'The store does not know FLEETSEAL_S3_ACCESS_KEY_ID: set the id of a key that it has now, and see that FLEETSEAL_S3_ENDPOINT is the store that gave it',
  SignatureDoesNotMatch:
    'FLEETSEAL_S3_SECRET_ACCESS_KEY is not the secret of FLEETSEAL_S3_ACCESS_KEY_ID: set both again from one source; if they are right, the store wants another FLEETSEAL_S3_REGION',
  ExpiredToken: 'The keys are over: set ones that last',
  InvalidToken: 'These keys need a session token, which is not supported: set ones that last',
  RequestTimeTooSkewed: 'Set the clock of this machine, or that of the store: they differ too much',
  NoSuchBucket: 'Make the bucket, or set FLEETSEAL_S3_BUCKET to the one that is meant',
}

/** What mends that the store refuses; holds nothing that the store said but the name of a region. */
export function remedyOf({ step, status, why, region }: RemoteFault): string {
  const known = Object.hasOwn(remedies, why) ? remedies[why] : undefined
  if (known !== undefined) return known
  if (status === 301 || status === 307 || status === 400) {
    const is = region === undefined ? '' : `: the store says that it is ${region}`
    return `Set FLEETSEAL_S3_REGION and FLEETSEAL_S3_PATH_STYLE as the store wants them (docs/storage.md)${is}`
  }
  if (status === 404) {
    return 'See that FLEETSEAL_S3_BUCKET is there, that FLEETSEAL_S3_ENDPOINT speaks S3, and that the store knows the keys'
  }
  return `${permissions[step]}; see that the keys are valid and that the clock of this machine is right`
}
