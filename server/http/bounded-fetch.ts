const maxBytes = 512 * 1024
const timeoutMs = 10_000

/**
 * `fetch` for what a server of somebody else says about identities: no redirects, half a megabyte, ten seconds, whatever the caller
 * says. Fails for more.
 */
export async function boundedFetch(
  url: string | URL,
  options: RequestInit = {},
): Promise<Response> {
  const bound = AbortSignal.timeout(timeoutMs)
  const signal = options.signal ? AbortSignal.any([options.signal, bound]) : bound
  const response = await fetch(url, { ...options, redirect: 'manual', signal })
  const body = await readBounded(response)
  const { status, headers } = response
  // These have no body, and `Response` takes none.
  const isEmpty = status === 204 || status === 205 || status === 304
  if (status < 200) throw new Error(`${new URL(url).host} answered ${status}`)
  const answer = new Response(isEmpty ? null : body, { status, headers })
  Object.defineProperty(answer, 'url', { value: response.url })
  return answer
}

async function readBounded(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of response.body ?? []) {
    length += chunk.length
    if (length > maxBytes) throw new Error(`An answer of ${new URL(response.url).host} is too long`)
    chunks.push(chunk)
  }
  return new Uint8Array(Buffer.concat(chunks))
}
