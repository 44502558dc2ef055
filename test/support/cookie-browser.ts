/** What `curl --cookie-jar` does: keeps cookies by origin and follows redirects, and no more. */
export class CookieBrowser {
  readonly #jar = new Map<string, Map<string, string>>()
  readonly #reach: (url: URL) => string
  /** Every address that was asked for, the newest last. */
  readonly visited: string[] = []

  /** @param reach where an address is really asked for: a name that resolves nowhere can be a server on loopback */
  constructor(reach: (url: URL) => string = (url) => url.href) {
    this.#reach = reach
  }

  cookie(origin: string, name: string): string | undefined {
    return this.#jar.get(origin)?.get(name)
  }

  setCookie(origin: string, name: string, value: string): void {
    this.#cookiesOf(origin).set(name, value)
  }

  /** One request, redirects not followed. */
  async ask(address: string | URL, init: RequestInit = {}): Promise<Response> {
    const url = new URL(address)
    this.visited.push(url.href)
    const cookies = [...this.#cookiesOf(url.origin)].map((pair) => pair.join('=')).join('; ')
    const headers = new Headers(init.headers)
    if (cookies !== '') headers.set('Cookie', cookies)
    const response = await fetch(this.#reach(url), { ...init, headers, redirect: 'manual' })
    for (const line of response.headers.getSetCookie()) this.#take(url.origin, line)
    return response
  }

  /** Follows redirects, as far as `until` says so. Gives the last answer and where it came from. */
  async go(
    address: string | URL,
    init: RequestInit = {},
    until: (url: URL) => boolean = () => false,
  ): Promise<{ response: Response; url: URL }> {
    let url = new URL(address)
    let response = await this.ask(url, init)
    for (let hop = 0; hop < 15; hop++) {
      const location = response.headers.get('location')
      if (response.status < 300 || response.status >= 400 || location === null) break
      url = new URL(location, url)
      if (until(url)) break
      response = await this.ask(url)
    }
    return { response, url }
  }

  /** Fills in the only form of a page and sends it. */
  async submit(
    page: { response: Response; url: URL },
    fields: Record<string, string>,
    until?: (url: URL) => boolean,
  ): Promise<{ response: Response; url: URL }> {
    const html = await page.response.text()
    const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1]
    if (action === undefined) throw new Error(`no form in: ${html.slice(0, 500)}`)
    const hidden = [...html.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)]
    const body = new URLSearchParams()
    for (const [, name = '', value = ''] of hidden) body.set(name, value)
    for (const [name, value] of Object.entries(fields)) body.set(name, value)
    return await this.go(new URL(action, page.url), { method: 'POST', body }, until)
  }

  #cookiesOf(origin: string): Map<string, string> {
    const cookies = this.#jar.get(origin) ?? new Map<string, string>()
    this.#jar.set(origin, cookies)
    return cookies
  }

  #take(origin: string, line: string): void {
    const [pair = ''] = line.split(';')
    const at = pair.indexOf('=')
    const name = pair.slice(0, at).trim()
    const value = pair.slice(at + 1).trim()
    const isGone = value === '' || /max-age=0/i.test(line) || /expires=thu, 01 jan 1970/i.test(line)
    if (isGone) this.#cookiesOf(origin).delete(name)
    else this.#cookiesOf(origin).set(name, value)
  }
}
