import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

import type { Site } from './operator.ts'
import type { RunningServer } from './server.ts'

const run = promisify(execFile)

/**
 * Enrolls a device over EST with openssl and curl alone, as docs/devices/swupdate.md says. Leaves `device.key`, `device.pem` and `root.pem`
 * in the folder, and gives what is in them.
 */
export async function enrollByCurl(
  server: RunningServer,
  site: Site,
  { serial, folder }: { serial: string; folder: string },
): Promise<{ ca: string; cert: string; key: string }> {
  const file = (name: string) => join(folder, name)
  await writeFile(file('root.pem'), await readFile(server.ca))
  const base = `https://localhost:${server.ports.device}/.well-known/est/${site.profile}`
  const script = `set -e -o pipefail
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout device.key -subj "/CN=$SERIAL" -outform DER -out device.csr 2>/dev/null
openssl base64 -in device.csr -out device.b64
curl --silent --show-error --fail --cacert root.pem --user "$USER_TOKEN" -H 'Content-Type: application/pkcs10' --data-binary @device.b64 \\
  "$BASE/simpleenroll" | openssl base64 -d | openssl pkcs7 -inform DER -print_certs -out device.pem
curl --silent --show-error --fail --cacert root.pem "$BASE/cacerts" | openssl base64 -d | openssl pkcs7 -inform DER -print_certs >> device.pem
chmod 600 device.key`
  const told = { SERIAL: serial, USER_TOKEN: `${site.profile}:${site.token}`, BASE: base }
  await run('bash', ['-c', script], { cwd: folder, env: { ...process.env, ...told } })
  const read = async (name: string) => await readFile(file(name), 'utf8')
  return {
    ca: await read('root.pem'),
    cert: await read('device.pem'),
    key: await read('device.key'),
  }
}
