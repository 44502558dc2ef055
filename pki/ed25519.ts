/**
 * The y coordinates of the points of order 1, 2, 4 and 8, little-endian with the sign bit clear, and
 * their non-canonical spellings y + p that fit (RFC 8032 §5.1.3; the list of libsodium's
 * `ge25519_has_small_order`).
 */
const lowOrder = new Set([
  '0000000000000000000000000000000000000000000000000000000000000000',
  '0100000000000000000000000000000000000000000000000000000000000000',
  '26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05',
  'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a',
  'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
])

/** Whether a 32-byte Ed25519 public key generates only a handful of points. */
export function isLowOrderEd25519(octets: Buffer): boolean {
  const y = Buffer.from(octets)
  y[31] = (y[31] ?? 0) & 0x7f
  return lowOrder.has(y.toString('hex'))
}
