/* Bodies for the OpenAPI document. */

/** Public keys as `fleetseal sign init` writes them. */
export const exampleKeys = ['8a', 'c3'].map((octet) => ({
  keytype: 'ed25519',
  scheme: 'ed25519',
  keyval: { public: octet.repeat(32) },
}))

const file = (type: string) => JSON.stringify({ signed: { _type: type }, signatures: [] })

export const exampleRoots = {
  image: { root: file('root'), targets: file('targets') },
  director: { root: file('root') },
  releaseKeys: exampleKeys,
}
export const exampleReleaseKeys = {
  keys: exampleKeys.map((key, n) => ({ name: `signer-${n + 1}`, key })),
}
