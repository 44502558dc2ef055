import { createHash, randomBytes } from 'node:crypto'

import { oids } from '../../pki/der/oids.ts'
import {
  contextConstructed,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
} from '../../pki/der/writer.ts'
import { model } from './operator.ts'
import { cpio, swDescription } from './swu.ts'

/** An image as the server wants it of a release of this version, for the client; no device could verify what stands for its signature. */
export function imageFor(client: string, version: string, payload = randomBytes(150_000)): Buffer {
  if (client === 'swupdate') return unverifiableSwu(version, payload)
  return client === 'rauc' ? unverifiableBundle(version, payload) : payload
}

function unverifiableSwu(version: string, payload: Buffer): Buffer {
  return cpio([
    { name: 'sw-description', bytes: swDescription(version, payload, '/tmp/installed.bin') },
    { name: 'sw-description.sig', bytes: Buffer.from('no signature') },
    { name: 'payload.bin', bytes: payload },
  ])
}

/** In the verity format, whose manifest is in the signature. */
function unverifiableBundle(version: string, payload: Buffer): Buffer {
  const hash = createHash('sha256').update(payload).digest('hex')
  const manifest = `[update]
compatible=${model}
version=${version}

[bundle]
format=verity
verity-hash=${hash}
verity-salt=${hash}
verity-size=4096

[image.rootfs]
filename=rootfs.img
sha256=${hash}
`
  const content = contextConstructed(0, octetString(Buffer.from(manifest)))
  const data = sequence(integer(1), setOf(), sequence(oid(oids.data), content), setOf())
  const cms = sequence(oid(oids.signedData), contextConstructed(0, data))
  const length = Buffer.alloc(8)
  length.writeBigUInt64BE(BigInt(cms.length))
  return Buffer.concat([Buffer.from('hsqs'), payload, cms, length])
}
