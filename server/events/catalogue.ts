/** `server`: an attack on the server, or a change that people made. `device`: what a device did or said; its owner can switch that off. */
type About = 'server' | 'device'
type Severity = 'info' | 'warning' | 'critical'

export interface Kind {
  kind: string
  /** The highest it is recorded with. */
  severity: Severity
  about: About
  means: string
  todo: string
}

/** What to do about many of them. */
const usual: Readonly<Record<string, string>> = {
  '@look': 'Nothing, unless it goes on or many do it.',
  '@fix': "Have the device's software looked at: it does not keep to the protocol.",
  '@check': 'Find out whether the device is what it should be; revoke it when in doubt.',
  '@own': 'Nothing: somebody did this. If nobody says it was him, look into the audit log.',
  '@sign': 'Ask the person; lock the account when it was not him.',
}

const connections = `
mqtt-unknown-certificate | warning | server | A certificate that this server did not issue, or that it has forgotten | @check
mqtt-certificate-revoked | warning | server | A revoked certificate was used | The device, or who has its key, still tries: take it out of use.
mqtt-certificate-held | warning | server | A certificate that is on hold was used | @look
mqtt-certificate-superseded | warning | server | A certificate was used that had been replaced | Long after a renewal: the old key may be in other hands.
mqtt-certificate-expired | warning | server | A certificate was used after its end | Let the device renew, or enroll it again.
mqtt-device-disabled | warning | server | A device that was cut off tried to connect | @look
mqtt-device-revoked | warning | server | A device that was revoked tried to connect | @look
mqtt-device-retired | warning | server | A device that is out of use tried to connect | @look
mqtt-group-disabled | warning | server | A device of a group that was cut off tried to connect | @look
mqtt-status-unknown | warning | server | Whether a device may connect could not be found out, so it may not | See whether the database answers.
mqtt-certificate-not-trusted | warning | server | A certificate of an authority that is not trusted | @check
mqtt-no-certificate | warning | server | A connection without a certificate | @look
mqtt-tls-failed | warning | server | A handshake that failed | @look
mqtt-client-id-mismatch | warning | server | A device connected under the name of another | @check
mqtt-proxy-header | warning | server | A connection from a balancer's network began without a PROXY header | Have the balancer send version 2; or somebody there goes around it.
mqtt-connect-timeout | warning | server | A connection that said nothing | @look
mqtt-too-many-connections | warning | server | More connections than one address or device may have | @look
mqtt-protocol-version | warning | server | A version of MQTT that is not spoken here | @fix
mqtt-protocol-error | warning | server | Packets that are not MQTT, or not in an order that makes sense | @fix
mqtt-malformed-packet | warning | server | A packet that cannot be read | @fix
mqtt-packet-too-large | warning | server | A packet larger than any may be | @fix
mqtt-malformed-message | warning | server | A message that is not as it should be | @fix
mqtt-message-rejected | warning | server | A message that was refused | @fix
mqtt-topic-refused | warning | server | A message to a topic that is not the device's | @check
mqtt-filter-refused | warning | server | A device asked for messages that are not for it | @check
mqtt-too-many-filters | warning | server | More subscriptions than a device needs | @fix
mqtt-too-many-in-flight | warning | server | More messages at the same time than allowed | @fix
mqtt-qos-refused | warning | server | A quality of service that is not offered | @fix
mqtt-retain-refused | warning | server | A message that was to be kept for others | @fix
mqtt-keepalive-refused | warning | server | A device that wants to be silent for too long | @fix
mqtt-rate-exceeded | warning | server | A device that sends more than it may | @fix
mqtt-slow-consumer | warning | server | A device that does not read what it is sent | @look
mqtt-taken-over | warning | server | A device connected anew while its connection was open | @look
device-refused | warning | server | A device without the right asked by HTTPS | @check
identity-cloned | critical | server | Two places use the same key at the same time, and take the connection from each other | Revoke the device and enroll it with a new key, made in the device; the key is out.
`

const identities = `
enrollment-refused | warning | server | An enrollment was refused: the token, the request or the rules of the profile | Many of them are somebody who guesses: end the token, narrow the networks.
enrollment-token-refused | warning | server | A wrong enrollment token | Many of them are somebody who guesses.
enrollment-certificate-refused | warning | server | A certificate that a profile does not take for an enrollment | @check
enrollment-rate-limited | warning | server | So many wrong tokens from one place that it has to wait | Find out who is there.
device-enrolled-again | warning | server | A device that has a certificate enrolled anew | @check
renewed-after-expiry | warning | server | A device renewed with a certificate that had ended | @look
renewed-same-key | info | server | A device renewed and kept its key, where its profile leaves that open | Nothing, if its software does so; otherwise make the profile ask for new keys.
renewed-too-often | warning | server | A device renewed for the third time within an hour, or more often | Its software may not keep what it is given. If it does, somebody else renews too: see renewed-elsewhere.
renewed-elsewhere | warning | server | A device renewed, by different requests, from two networks within ten minutes | Find out whether the device moved just then; if not, its key is out: revoke it and enroll it with a new key.
certificate-not-renewed | critical | server | A certificate comes to its end and its device has not renewed it | Find out why the device does not renew; after the end it has to enroll again.
device-active | info | server | A device was let in again | @own
device-disabled | warning | server | A device was cut off | @own
device-revoked | warning | server | A device was revoked | @own
device-retired | info | server | A device was taken out of use | @own
device-registered | info | server | A device is registered and has no certificate | @own
group-disabled | warning | server | All devices of a group were cut off | @own
group-enabled | info | server | The devices of a group were let in again | @own
authority-revoked | critical | server | The root revoked an authority | @own
`

const updates = `
report-proof-invalid | warning | server | A report whose signature is not that of the device | @check
false-success | warning | server | A device said that an update succeeded and could not prove it | @check
illegal-report | warning | server | A report that cannot follow what was reported before, or is about the update of another device | @fix
illegal-choice | warning | server | A choice about an update of another device | @check
outcome-corrected | info | device | An update came to another end than was thought | @look
update-refused | warning | device | A device refused an update because of what was signed, with the code of the attack | Find out whether somebody attacks, or something was signed wrongly.
metadata-ahead | critical | server | A device holds newer metadata than this server | After a restored backup: renew the metadata. Otherwise somebody else signs with your keys.
timestamp-ahead | critical | server | A device holds a newer timestamp than this server | As for metadata-ahead.
equivocation | critical | server | The same version was signed with two contents | Find out who signed what: a key may be in other hands.
metadata-expiring | critical | server | Signed metadata comes to its end; after it devices take no update | Sign the next version.
ddi-cancel-refused | warning | device | A polling device did not stop an update that was taken back | @look
ddi-success-not-verified | info | device | A polling device said that an update succeeded, which it cannot prove | @look
ddi-unreadable-feedback | warning | device | What a polling device said cannot be understood for certain | @fix
ddi-wrong-controller | warning | server | A polling device asked under the name of another | @check
ddi-token-refused | warning | server | A wrong token of a polling device | Many of them are somebody who guesses.
ddi-token-rate-limited | warning | server | So many wrong tokens from one place that it has to wait | Find out who is there.
`

const people = `
api-key-refused | warning | server | A wrong, ended or revoked API key | Many of them are somebody who guesses.
api-rate-limited | warning | server | So many wrong keys from one place that it has to wait | Find out who is there.
operator-certificate-refused | warning | server | An operator's certificate that opens nothing | @sign
workload-refused | warning | server | A token of a pipeline that opens nothing | Look at the issuer and what is expected of its tokens.
session-refused | warning | server | A session that is not, or came from another site | @sign
sign-in-refused | warning | server | The provider let somebody in whom this server does not | @sign
person-sign-in-refused | warning | server | A wrong password or second factor | Many of them are somebody who guesses.
person-sign-in-locked | warning | server | An account was locked after wrong attempts | @sign
person-signed-in | info | server | Somebody signed in | @own
person-unlocked | info | server | An account was unlocked | @own
person-invited | info | server | Somebody was invited | @own
person-credentials-reset | warning | server | Somebody's ways to sign in were reset | @own
person-credentials-changed | info | server | Somebody changed what he signs in with | @own
`

const operation = `
audit-broken | critical | server | The audit log is not as it was sealed and signed: somebody changed it in the database | Keep the database as it is, and the checkpoints; then: fleetseal audit export, fleetseal audit verify (docs/audit.md).
events-dropped | warning | server | So much happened at once that only the number of events was kept | Look at what came before it.
device-events-dropped | warning | device | A device reports more than sixty events an hour | @look
command-result | warning | device | What came of a command to a device | @look
webhook-backlog-full | warning | server | A webhook has so much waiting that it misses events | Find out why its receiver does not keep up; then ask for the gap anew.
webhook-dead-letters | warning | server | Events that a webhook did not take for three days | fleetseal webhook deliveries ID --state dead
webhook-disabled | critical | server | A webhook took nothing for three days, or said that it is gone | Mend its receiver, then: fleetseal webhook enable ID
alert-mail-dead | warning | server | A mail about an alert could not be delivered | fleetseal alert mails --state dead
`

/** Headings and what stands below each: what the server records. Devices report kinds of their own. */
export const catalogue: readonly (readonly [string, readonly Kind[]])[] = (
  [
    ['Connections', connections],
    ['Identities', identities],
    ['Updates', updates],
    ['People and programs', people],
    ['The server itself', operation],
  ] as const
).map(([title, rows]) => [title, kindsOf(rows)])

function kindsOf(text: string): Kind[] {
  return text
    .trim()
    .split('\n')
    .map((line) => {
      const [kind = '', severity, about, means = '', todo = ''] = line.split(' | ')
      if (!isSeverity(severity) || !isAbout(about)) throw new Error(`Not a kind of event: ${line}`)
      return { kind, severity, about, means, todo: usual[todo] ?? todo }
    })
}

function isSeverity(word: string | undefined): word is Severity {
  return word === 'info' || word === 'warning' || word === 'critical'
}

function isAbout(word: string | undefined): word is About {
  return word === 'server' || word === 'device'
}

const known = new Map(catalogue.flatMap(([, kinds]) => kinds.map((one) => [one.kind, one])))

/** What a kind means and what to do; undefined for kinds that devices chose. */
export function meaningOf(kind: string): Kind | undefined {
  return known.get(kind)
}

/** Is it recorded whatever the device's owner chose? Everything is, but what a device says of itself (docs/owners-choice.md). */
export function concernsServer(kind: string): boolean {
  return known.get(kind)?.about === 'server'
}
