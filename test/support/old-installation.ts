import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'

const fixture = (name: string) =>
  fileURLToPath(new URL(`../fixtures/upgrade/${name}`, import.meta.url))

/** A demonstration's installation as the release before left it, with the key-encryption key and the artifacts (test/fixtures/upgrade). */
export const oldBackup = fixture('0037.backup')
export const oldPassphrase = 'fixture of an upgrade'
/** Of its devices: this one was stolen and revoked, */
export const revokedSerial = 'G2-00001'
/** and this one runs 1.0.1. */
export const honestSerial = 'G2-00002'

/** Writes the devices' folders and the offline keys into `folder`. */
export async function unpackDevices(folder: string): Promise<void> {
  const text = gunzipSync(await readFile(fixture('0037-devices.json.gz'))).toString()
  for (const [path, base64] of Object.entries(JSON.parse(text) as Record<string, string>)) {
    const file = join(folder, path)
    await mkdir(dirname(file), { recursive: true, mode: 0o700 })
    await writeFile(file, Buffer.from(base64, 'base64'), { mode: 0o600 })
  }
}
