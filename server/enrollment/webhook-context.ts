/** What the sealed secret of a profile's webhook is bound to. */
export function webhookContext(profileId: string): string {
  return `enrollment webhook ${profileId}`
}
