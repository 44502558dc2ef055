/** One line of `npm run bench`: what was measured, the figure, and what it should be. */
export interface Row {
  what: string
  figure: string
  /** Empty for a figure that only stands beside another. */
  target: string
  met: boolean | undefined
}

export function ratio(what: string, ours: number, peer: number, limit: number): Row {
  const value = ours / peer
  return { what, figure: value.toFixed(2), target: `≤ ${limit}`, met: value <= limit }
}

export function plain(what: string, figure: string): Row {
  return { what, figure, target: '', met: undefined }
}
