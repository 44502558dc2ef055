import { PkiError } from './errors.ts'

/** Where a key is: in which token, and by which name. RFC 7512 §2.3. */
export interface Pkcs11Uri {
  /** Label of the token. */
  readonly token?: string
  /** Serial number of the token. */
  readonly serial?: string
  /** Label of the key. */
  readonly object?: string
  /** CKA_ID of the key. */
  readonly id?: Buffer
  /** The library that speaks to the token; an absolute path. */
  readonly modulePath?: string
}

const maxCharacters = 1024
const scheme = 'pkcs11:'

/**
 * Reads a `pkcs11:` URI (RFC 7512 §2.3): `token` or `serial` for the token, `object` or `id` for the key, and `module-path`
 * for the library. Every other attribute is refused, `pin-value` above all: a PIN in a URI ends up in logs.
 *
 * @throws PkiError `token`
 */
export function parsePkcs11Uri(text: string): Pkcs11Uri {
  if (text.length > maxCharacters || !text.startsWith(scheme)) {
    throw refused('begins with "pkcs11:" and is short')
  }
  const [path = '', query, ...more] = text.slice(scheme.length).split('?')
  if (more.length > 0) throw refused('has one "?" at most')
  const given = new Map([
    ...attributes(path, ';', ['token', 'serial', 'object', 'id', 'type']),
    ...attributes(query ?? '', '&', ['module-path']),
  ])
  const type = given.get('type')?.toString('utf8')
  if (type !== undefined && type !== 'private') throw refused('names a private key')
  const textOf = (name: string) => given.get(name)?.toString('utf8')
  const [token, serial, object] = [textOf('token'), textOf('serial'), textOf('object')]
  const [id, modulePath] = [given.get('id'), textOf('module-path')]
  if (token === undefined && serial === undefined) throw refused('names a token (token=LABEL)')
  if (object === undefined && id === undefined) throw refused('names a key (object=LABEL)')
  if (modulePath !== undefined && !modulePath.startsWith('/')) {
    throw refused('has an absolute module-path')
  }
  return {
    ...(token === undefined ? {} : { token }),
    ...(serial === undefined ? {} : { serial }),
    ...(object === undefined ? {} : { object }),
    ...(id === undefined ? {} : { id }),
    ...(modulePath === undefined ? {} : { modulePath }),
  }
}

function attributes(
  text: string,
  separator: string,
  known: readonly string[],
): [name: string, value: Buffer][] {
  if (text === '') return []
  const pairs = text.split(separator).map((pair): [string, Buffer] => {
    const [name = '', value, ...more] = pair.split('=')
    if (name.startsWith('pin')) throw refused('never holds a PIN: give it in a file')
    if (!known.includes(name)) throw refused(`knows ${known.join(', ')} there, and nothing else`)
    if (value === undefined || value === '' || more.length > 0) {
      throw refused(`has a value for ${name}`)
    }
    return [name, percentDecoded(value)]
  })
  if (new Set(pairs.map(([name]) => name)).size < pairs.length) {
    throw refused('has each attribute once')
  }
  return pairs
}

/** RFC 3986 §2.1; what need not be escaped may be. */
function percentDecoded(value: string): Buffer {
  if (!/^(?:[A-Za-z0-9\-._~:[\]@!$'()*+,/&]|%[0-9A-Fa-f]{2})+$/.test(value)) {
    throw refused('escapes other characters as %XX')
  }
  const unescaped = value.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCodePoint(Number.parseInt(hex, 16)),
  )
  const bytes = Buffer.from(unescaped, 'latin1')
  if (bytes.includes(0)) throw refused('holds no NUL')
  return bytes
}

function refused(rule: string): PkiError {
  return new PkiError('token', `The URI of a key in a token ${rule}`)
}
