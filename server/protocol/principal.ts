/** Who can be given rights, as in audit rows: `key:ID` and the like. */
export const principalPattern = /^(?:key|user|workload|certificate):[0-9a-f-]{36}$/

/** Narrowing is for people to understand: more than this nobody does. */
export const accessLimits = { grants: 20, groups: 20, roles: 200 } as const
