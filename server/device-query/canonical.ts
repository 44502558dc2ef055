import { parseDeviceQuery } from './parse.ts'
import { tokensOf } from './tokens.ts'

const closeBefore = new Set(['.', ',', ')'])
const closeAfter = new Set(['.', '('])

/**
 * The query with single spaces where they are usual, so that what asks the same in the same words is the same text.
 * @throws DomainError `invalid-request`, with the column, for what is no query
 */
export function canonicalQuery(text: string): string {
  parseDeviceQuery(text)
  const tokens = tokensOf(text)
  const pieces = tokens.slice(0, -1).map(({ at }, n) => text.slice(at, tokens[n + 1]?.at).trim())
  return pieces.reduce((all, piece, n) => {
    const isClose = n === 0 || closeBefore.has(piece) || closeAfter.has(pieces[n - 1] ?? '')
    return isClose ? all + piece : `${all} ${piece}`
  }, '')
}
