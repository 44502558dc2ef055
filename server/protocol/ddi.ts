/** Clients of hawkBit's Direct Device Integration by fact (ddi.md §4–§6): what each does with an offer, not what is documented. */
export const ddiProfiles = ['swupdate', 'rauc', 'zephyr', 'generic'] as const
export type DdiProfile = (typeof ddiProfiles)[number]
