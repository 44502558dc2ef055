/**
 * Which devices a permission covers: the whole fleet, or the devices that are members of every group of at least one of the lists. Within
 * a list each group narrows; an empty list of lists covers nothing. At most 20 lists of at most 20 groups (UUIDs).
 */
export type Reach = 'fleet' | readonly (readonly string[])[]

/** Is every member of the group covered, whoever that is? Only then may somebody act on the group as a whole. */
export function coversGroup(reach: Reach, groupId: string): boolean {
  return reach === 'fleet' || reach.some((groups) => groups.every((id) => id === groupId))
}

/** May somebody know that the group exists? Of its members only those that are covered. */
export function knowsGroup(reach: Reach, groupId: string): boolean {
  return reach === 'fleet' || reach.some((groups) => groups.includes(groupId))
}
