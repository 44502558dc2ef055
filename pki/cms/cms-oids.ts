/** Object identifiers of CMS (RFC 5652) and what is built on it, as dotted text. */
export const cmsOids = {
  // Content types
  envelopedData: '1.2.840.113549.1.7.3',
  encryptedData: '1.2.840.113549.1.7.6',
  /** id-ct-KP-aKeyPackage, RFC 5958 §2. */
  asymmetricKeyPackage: '2.16.840.1.101.2.1.2.78.5',

  // Signed attributes, RFC 5652 §11
  contentType: '1.2.840.113549.1.9.3',
  messageDigest: '1.2.840.113549.1.9.4',
  signingTime: '1.2.840.113549.1.9.5',

  // Content encryption, RFC 3565 and RFC 3370
  aes128Cbc: '2.16.840.1.101.3.4.1.2',
  aes256Cbc: '2.16.840.1.101.3.4.1.42',
  desEde3Cbc: '1.2.840.113549.3.7',

  // Key management, RFC 3370, RFC 3565, RFC 5753
  rsaEncryption: '1.2.840.113549.1.1.1',
  aes128Wrap: '2.16.840.1.101.3.4.1.5',
  aes256Wrap: '2.16.840.1.101.3.4.1.45',
  ecPublicKey: '1.2.840.10045.2.1',
  ecdhSha256Kdf: '1.3.132.1.11.1',
} as const
