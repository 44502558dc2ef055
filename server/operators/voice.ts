/**
 * Who counts where two people have to agree. Whoever made a key has seen its secret, and whoever registered a certificate or a pipeline chose who holds it: so
 * it speaks with its maker's voice, or nobody would need a second person who can make keys. What no person made speaks for its owner, or for itself.
 */
export function voiceOf(
  id: string,
  { created_by: maker, owner_id: owner }: { created_by: string; owner_id: string | null },
): string {
  if (maker.startsWith('user:')) return maker
  return owner === null ? id : `user:${owner}`
}

/** Who is said to have made a credential: with whatever somebody calls who is known, it is they who make it, and see it. */
export function makerOf({ id, voice }: { id: string; voice: string }): string {
  return voice.startsWith('user:') ? voice : id
}
