import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  sign,
  verify,
  X509Certificate,
} from 'node:crypto'

import type { PeerPki } from './peer-servers.ts'

const turns = 300

/**
 * What the curves of one full handshake cost a server, in milliseconds of CPU of this process: the device's certificate and its proof
 * verified, its own proof signed, and X25519. A connect cannot cost less; most of it is something else.
 */
export function cryptoFloor({ credentials, devices }: PeerPki, rounds: number): number[] {
  const [device] = credentials
  if (!device) throw new Error('There is no device')
  const key = createPrivateKey(device.key)
  const publicKey = createPublicKey(key)
  const certificate = new X509Certificate(device.cert)
  const issuer = createPublicKey({ key: devices.signer.spki, format: 'der', type: 'spki' })
  const transcript = Buffer.alloc(130, 7)
  const peer = generateKeyPairSync('x25519').publicKey
  const once = () => {
    const proof = sign('sha256', transcript, key)
    const ours = generateKeyPairSync('x25519')
    diffieHellman({ privateKey: ours.privateKey, publicKey: peer })
    if (!verify('sha256', transcript, publicKey, proof) || !certificate.verify(issuer)) {
      throw new Error('A signature does not verify')
    }
  }
  const timed = (): number => {
    const before = process.cpuUsage()
    for (let turn = 0; turn < turns; turn++) once()
    const { user, system } = process.cpuUsage(before)
    return (user + system) / 1_000 / turns
  }
  timed()
  return Array.from({ length: rounds }, timed)
}
