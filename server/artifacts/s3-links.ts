import type { S3Settings } from '../s3-config.ts'
import { cacheControl, contentType } from './storage.ts'

export interface Links extends Disposable {
  /** A `GET` of exactly this object, signed in its query (AWS Signature Version 4); nothing is asked of the store. A secret. */
  to: (key: string) => Promise<string>
}

/**
 * Links to objects of the bucket, by the host that devices use. Undefined where devices are not sent there. What the store says
 * of the bytes is signed too, so that a device gets the headers that it would get from here.
 */
export async function openLinks(settings: S3Settings): Promise<Links | undefined> {
  const { redirect, bucket, region, accessKeyId, secretAccessKey, pathStyle } = settings
  if (!redirect) return undefined
  const [{ S3Client, GetObjectCommand }, { getSignedUrl }] = await Promise.all([
    import('@aws-sdk/client-s3'),
    import('@aws-sdk/s3-request-presigner'),
  ])
  const client = new S3Client({
    endpoint: redirect.endpoint,
    region,
    forcePathStyle: pathStyle,
    credentials: { accessKeyId, secretAccessKey },
    // Otherwise a header of the client's own would be part of what is signed.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  return {
    to: async (key) => {
      const command = new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        ResponseContentType: contentType,
        ResponseCacheControl: cacheControl,
      })
      return await getSignedUrl(client, command, { expiresIn: redirect.lifeSeconds })
    },
    [Symbol.dispose]: () => client.destroy(),
  }
}
