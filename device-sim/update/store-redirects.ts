import { type IncomingMessage, request as httpRequest } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { isIPv4 } from 'node:net'

import { answerTo, type Asked, optionsOf } from './ask.ts'
import { Failure } from './transfer.ts'

/** A store of artifacts to which the server may send the device. It is not trusted: hashes decide (updates.md section 6). */
export interface StoreHost {
  /** As it stands in a URL, with the port unless that is 443. */
  host: string
  /** PEM; the system's when left out. */
  ca?: string | undefined
}

const maxLinkLength = 8_192

/**
 * Links to stores, in one download: asked for while a host is named and none has failed, followed once per request. The store is
 * shown neither the device's certificate nor anything else that says who asks. A link is a secret: no message has it.
 */
export class StoreRedirects {
  readonly #hosts: readonly StoreHost[]
  #isGivenUp = false
  #followed: string | undefined

  constructor(hosts: readonly StoreHost[]) {
    this.#hosts = hosts
  }

  /** Whether a link may be asked for. */
  get isOpen(): boolean {
    return this.#hosts.length > 0 && !this.#isGivenUp
  }

  /** Whether the last request was answered with a link, so that what went wrong is not the server's. */
  get isFollowed(): boolean {
    return this.#followed !== undefined
  }

  /**
   * The answer itself when it is no link; otherwise that of the store, whatever it is: another link is not followed.
   * @throws Failure `redirect` for a link to elsewhere than the hosts named, or not over TLS
   * @throws Interruption when the store does not answer
   */
  async follow(answer: IncomingMessage, asked: Asked): Promise<IncomingMessage> {
    this.#followed = undefined
    if (answer.statusCode !== 307) return answer
    const { location = '' } = answer.headers
    answer.destroy()
    this.#followed = 'a store'
    const url = location.length <= maxLinkLength ? URL.parse(location) : null
    const known = this.#hosts.find(({ host }) => host === url?.host)
    if (!url || !known || !isSafe(url)) {
      throw new Failure('redirect', 'The server names a host that may not be asked', false)
    }
    this.#followed = known.host
    const { ca } = known
    const options = optionsOf(asked)
    const sent =
      url.protocol === 'http:'
        ? httpRequest(url, options)
        : httpsRequest(url, { ...options, minVersion: 'TLSv1.2', ...(ca !== undefined && { ca }) })
    return await answerTo(sent)
  }

  /** For this download. Says so, for the report. */
  giveUp(code: string, why: string): string {
    const note = `${this.#followed ?? 'a store'} was not used (${code}): ${why}`
    this.#isGivenUp = true
    this.#followed = undefined
    return note
  }
}

/** Without TLS only on this machine, where tests are. */
function isSafe({ protocol, hostname, username, password }: URL): boolean {
  if (username !== '' || password !== '') return false
  const isHere = hostname === '[::1]' || (isIPv4(hostname) && hostname.startsWith('127.'))
  return protocol === 'https:' || (protocol === 'http:' && isHere)
}
