/**
 * The few functions of `reflect-metadata` that `@peculiar/x509` asks for when it loads. It is only an oracle in tests
 * and keeps nothing there that matters to them. Import this before the library.
 */
const metadata = new WeakMap<object, Map<string, unknown>>()

function getOwnMetadata(key: string, target: object): unknown {
  return metadata.get(target)?.get(key)
}

function defineMetadata(key: string, value: unknown, target: object): void {
  const entries = metadata.get(target) ?? new Map<string, unknown>()
  entries.set(key, value)
  metadata.set(target, entries)
}

Object.assign(Reflect, { getOwnMetadata, getMetadata: getOwnMetadata, defineMetadata })
