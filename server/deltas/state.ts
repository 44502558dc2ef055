/** Ways to an image that are shorter than the image (updates.md section 5). */
export const formMethods = ['delta-z1', 'zstd'] as const
export type FormMethod = (typeof formMethods)[number]

/** `refused`: it was tried and is of no use, for a reason. Neither of the last two is left again: the same images give the same bytes. */
export const formStates = ['waiting', 'made', 'refused'] as const
export type FormState = (typeof formStates)[number]

export const formReasons = ['not-smaller', 'cpu-limit', 'failed'] as const
export type FormReason = (typeof formReasons)[number]
