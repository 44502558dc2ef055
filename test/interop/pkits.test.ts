import { describe, expect, test } from 'vitest'

import { hasPkits, judge, loadPkits } from '../support/pkits.ts'

/*
 * X1: NIST PKITS. The expected result is in the name of each test's end-entity certificate; chains and CRLs are found by
 * names. The tests without a result in their name stand here, with their default settings: every policy is welcome, and none
 * is required but by the certificates themselves. `openssl verify -policy_check` says the same.
 */
const validWithDefaults = [
  'AllCertificatesNoPoliciesTest2',
  'AllCertificatesSamePoliciesTest10',
  'AllCertificatesSamePoliciesTest13',
  'AllCertificatesanyPolicyTest11',
  'AnyPolicyTest14',
  'CPSPointerQualifierTest20',
  'DifferentPoliciesTest3',
  'OverlappingPoliciesTest6',
  'UserNoticeQualifierTest15',
  'UserNoticeQualifierTest16',
  'UserNoticeQualifierTest17',
  'UserNoticeQualifierTest18',
  'UserNoticeQualifierTest19',
  'inhibitAnyPolicyTest3',
]
/** No policy is common to the path, and its first CA requires one. */
const withoutPolicy = [4, 5, 7, 8, 9, 12].map((number) => `DifferentPoliciesTest${number}`)

/** Valid by the suite, refused by us on purpose: why, and what is said of which. */
const stricter: Readonly<Record<string, readonly [outcome: RegExp, names: readonly string[]]>> = {
  'names are compared as bytes (pki.md 1.2), so that other spellings of a name do not chain': [
    /^no path$/,
    [
      'ValidNameChainingWhitespaceTest3',
      'ValidNameChainingWhitespaceTest4',
      'ValidNameChainingCapitalizationTest5',
      'ValidRolloverfromPrintableStringtoUTF8StringTest10',
      'ValidUTF8StringCaseInsensitiveMatchTest11',
    ],
  ],
  'GeneralizedTime before 2050 is a second spelling (RFC 5280 §4.1.2.5)': [
    /^malformed: GeneralizedTime/,
    ['ValidGeneralizedTimenotBeforeDateTest4'],
  ],
  'unique identifiers are not in use (RFC 5280 §4.1.2.8)': [
    /^malformed: Wrong tag/,
    ['ValidNameUIDsTest6'],
  ],
  'a negative serial in a CRL is refused (RFC 5280 §4.1.2.2)': [
    /^status unknown/,
    ['ValidNegativeSerialNumberTest14'],
  ],
  'DSA is not on the list of algorithms': [
    /^signature/,
    ['ValidDSASignaturesTest4', 'ValidDSAParameterInheritanceTest5'],
  ],
  'a CA certificate is no leaf (A9)': [
    /purpose: A CA/,
    [
      'ValidpathLenConstraintTest8',
      'ValidpathLenConstraintTest14',
      'ValidonlyContainsCACertsTest13',
      'OverlappingPoliciesTest6',
    ],
  ],
}

/** Valid paths whose CRLs are of a kind that we neither make nor take: their status is unknown, never good. */
const otherCrls: Readonly<Record<string, readonly string[]>> = {
  'a CRL counts only if the key that signed the certificate signed it': [
    'ValidBasicSelfIssuedOldWithNewTest1',
    'ValidBasicSelfIssuedNewWithOldTest4',
    'ValidBasicSelfIssuedCRLSigningKeyTest6',
    'ValidSeparateCertificateandCRLKeysTest19',
    'ValidDNnameConstraintsTest19',
    'ValidSelfIssuedpathLenConstraintTest15',
    'ValidSelfIssuedpathLenConstraintTest17',
    'ValidSelfIssuedinhibitAnyPolicyTest7',
    'ValidSelfIssuedinhibitAnyPolicyTest9',
    'ValidSelfIssuedinhibitPolicyMappingTest7',
    'ValidSelfIssuedrequireExplicitPolicyTest6',
  ],
  'indirect CRLs are refused': [
    'ValidIDPwithindirectCRLTest22',
    'ValidIDPwithindirectCRLTest24',
    'ValidIDPwithindirectCRLTest25',
    'ValidcRLIssuerTest28',
    'ValidcRLIssuerTest29',
    'ValidcRLIssuerTest30',
    'ValidcRLIssuerTest33',
  ],
  'CRLs of some reasons only are refused': [
    'ValidonlySomeReasonsTest18',
    'ValidonlySomeReasonsTest19',
  ],
  'distribution points are compared as bytes (P9), relative names are not expanded': [
    'ValiddistributionPointTest4',
    'ValiddistributionPointTest7',
  ],
}

const isRefused = new Set(Object.values(stricter).flatMap(([, names]) => names))
const isUnknown = new Set(Object.values(otherCrls).flat())

test.skipIf(hasPkits)('X1 needs python3-cryptography-vectors', ({ skip }) => {
  skip('python3-cryptography-vectors is not installed')
})

describe.skipIf(!hasPkits)('X1 PKITS', () => {
  const suite = hasPkits ? loadPkits() : undefined
  const names = suite?.leaves ?? []
  const isValid = (name: string) => name.startsWith('Valid') || validWithDefaults.includes(name)
  const outcomeOf = (name: string, by: 'path' | 'crls') => (suite ? judge(suite, name, by) : '')

  test('every test of the suite is here', () => {
    expect(names).toHaveLength(223)
    const listed = [...isRefused, ...isUnknown, ...validWithDefaults]
    expect(listed.filter((name) => !names.includes(name))).toEqual([])
  })

  test.each(names.filter((name) => !isValid(name)))('%s is refused', (name) => {
    expect(outcomeOf(name, 'crls')).not.toBe('valid')
  })

  test.each(withoutPolicy)('%s is refused for its policies', (name) => {
    // In some of them the leaf is a CA, which we refuse before.
    expect(outcomeOf(name, 'path')).toMatch(/^policy: |^purpose: A CA/)
  })

  test.each(names.filter((name) => isValid(name) && !isRefused.has(name) && !isUnknown.has(name)))(
    '%s is valid',
    (name) => {
      expect(outcomeOf(name, 'crls')).toBe('valid')
    },
  )

  test.each(Object.entries(stricter))('does not apply: %s', (_, [outcome, refused]) => {
    for (const name of refused) expect(outcomeOf(name, 'crls')).toMatch(outcome)
  })

  test.each(Object.entries(otherCrls))('the path is valid, and %s', (_, unknown) => {
    for (const name of unknown) {
      expect(outcomeOf(name, 'path')).toBe('valid')
      expect(outcomeOf(name, 'crls')).not.toBe('valid')
    }
  })
})
