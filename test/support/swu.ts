import { createHash } from 'node:crypto'

import { hardwareId } from './operator.ts'

/** A file for a `.swu`. */
export interface CpioFile {
  name: string
  bytes: Buffer
}

/** A cpio archive in the "new crc" format, which is what a `.swu` is. */
export function cpio(files: readonly CpioFile[]): Buffer {
  const parts = [...files, { name: 'TRAILER!!!', bytes: Buffer.alloc(0) }].map(
    ({ name, bytes }, n) => {
      const isEnd = name === 'TRAILER!!!'
      const sum = bytes.reduce((total, byte) => (total + byte) >>> 0, 0)
      // ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
      const fields = [
        isEnd ? 0 : n + 1,
        isEnd ? 0 : 0o100644,
        0,
        0,
        1,
        0,
        bytes.length,
        0,
        0,
        0,
        0,
        name.length + 1,
        sum,
      ]
      const head = `070702${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}${name}\0`
      return Buffer.concat([padded(Buffer.from(head, 'latin1')), padded(bytes)])
    },
  )
  const archive = Buffer.concat(parts)
  return Buffer.concat([archive, Buffer.alloc((512 - (archive.length % 512)) % 512)])
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)])
}

/** `sw-description` of an image that writes one file. */
export function swDescription(version: string, payload: Buffer, target: string): Buffer {
  return Buffer.from(`software =
{
  version = "${version}";
  hardware-compatibility: [ "${hardwareId}" ];
  files: (
    {
      filename = "payload.bin";
      path = "${target}";
      sha256 = "${createHash('sha256').update(payload).digest('hex')}";
    }
  );
}
`)
}
