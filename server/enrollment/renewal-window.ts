/** How devices of a profile renew. Percentages are of a certificate's life. */
export interface RenewalRules {
  opensPercent: number
  jitterPercent: number
  graceDays: number
  /** Certificates issued before this are renewed out of turn, spread over `spreadHours` from then. */
  issuedBefore: Date | null
  spreadHours: number
}

export const defaultRenewalRules: RenewalRules = {
  opensPercent: 60,
  jitterPercent: 15,
  graceDays: 0,
  issuedBefore: null,
  spreadHours: 24,
}

export interface RenewableCertificate {
  /** SHA-256 of its DER, lower hex: says where in the spread it stands. */
  fingerprint: string
  notBefore: Date
  notAfter: Date
  issuedAt: Date
}

export interface RenewalTimes {
  /** Before this a renewal is refused. */
  opensAt: Date
  /** When this certificate should be renewed: the hint to its device. */
  renewAt: Date
  /** From here on the certificate renews nothing; its end, when there is no grace. */
  graceEndsAt: Date
}

const dayMs = 86_400_000
/** After a change of the issuer, its certificates are renewed over this time. */
const rolloverSpreadMs = 7 * dayMs
/** A hint is never later than this, whatever the rules. */
const latestPercent = 95

/**
 * When a certificate may be, should be, and can no longer be renewed (pki.md §6.3, §6.4). Devices stand evenly over the jitter, each at
 * a place that its fingerprint decides: the same for every process, and another one for each new certificate, so that
 * a fleet that was enrolled in one hour does not stay together. Pure.
 *
 * @param issuerReplacedAt when its issuer was succeeded by another, if it was
 */
export function renewalTimes(
  certificate: RenewableCertificate,
  rules: RenewalRules,
  issuerReplacedAt: Date | null = null,
): RenewalTimes {
  const { fingerprint, notBefore, notAfter, issuedAt } = certificate
  const start = notBefore.getTime()
  const life = notAfter.getTime() - start
  const share = shareOf(fingerprint)
  const regularMs = start + (life * (rules.opensPercent + rules.jitterPercent * share)) / 100
  const turns: [fromMs: number, renewMs: number][] = [
    [start + (life * rules.opensPercent) / 100, regularMs],
  ]
  if (rules.issuedBefore && issuedAt < rules.issuedBefore) {
    const from = rules.issuedBefore.getTime()
    turns.push([from, from + rules.spreadHours * 3_600_000 * share])
  }
  if (issuerReplacedAt) {
    const from = issuerReplacedAt.getTime()
    turns.push([from, from + rolloverSpreadMs * share])
  }
  const latest = start + (life * latestPercent) / 100
  return {
    opensAt: new Date(Math.min(...turns.map(([from]) => from))),
    renewAt: wholeSeconds(Math.min(latest, ...turns.map(([, renew]) => renew))),
    graceEndsAt: new Date(notAfter.getTime() + rules.graceDays * dayMs),
  }
}

/** 0 to 1, evenly: the first 48 bits of a hash. */
function shareOf(fingerprint: string): number {
  return Number.parseInt(fingerprint.slice(0, 12), 16) / 2 ** 48
}

function wholeSeconds(ms: number): Date {
  return new Date(Math.floor(ms / 1000) * 1000)
}
