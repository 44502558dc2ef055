import { encodeName } from '../../pki/names.ts'
import { hardwareModuleName } from '../../pki/x509/module-names.ts'
import type { ProfileName, TbsInput } from '../../pki/x509/profiles.ts'
import { claimIdentity, noExpiry } from '../../pki/x509/profiles.ts'
import type { Authority } from './pki-fixture.ts'
import { aiaUrl, crlUrl, daysFrom, deviceId, deviceInput, now, serverInput } from './pki-fixture.ts'

export type LeafProfile = Exclude<ProfileName, 'root' | 'issuing' | 'cross'>

export const leafProfiles: readonly LeafProfile[] = [
  'server',
  'device',
  'claim',
  'idevid',
  'ocsp-responder',
  'metadata-signer',
  'scep-ra',
]

export const ocspUrl = 'http://localhost:8080/ocsp/1'
export const hardwareModule = { type: '1.3.6.1.4.1.55555.1', serial: Buffer.from('SN-7') }

/** What an honest caller gives for one certificate of the profile. */
export function leafInput(profile: LeafProfile, issuer: Authority, spki: Buffer): TbsInput {
  const input = { ...deviceInput(issuer, spki), ocspUrl }
  const nameless = { ...input, san: undefined, subject: encodeName({ commonName: profile }) }
  switch (profile) {
    case 'server':
      return { ...serverInput(issuer, spki), ocspUrl }
    case 'device':
      return input
    case 'claim':
      return { ...input, san: [claimIdentity(deviceId)], notAfter: daysFrom(now, 29) }
    case 'idevid':
      return { ...input, san: [hardwareModuleName(hardwareModule)], notAfter: noExpiry }
    case 'ocsp-responder':
      return {
        ...nameless,
        notAfter: daysFrom(now, 29),
        aiaUrl: undefined,
        crlUrl: undefined,
        ocspUrl: undefined,
      }
    case 'metadata-signer':
      return { ...nameless, crlUrl, aiaUrl, notAfter: daysFrom(now, 1000) }
    case 'scep-ra':
      return nameless
    default:
      throw new Error('Not a profile of a leaf')
  }
}
