/**
 * Which devices a permission covers: the whole fleet, or the devices that are members of every group of at least one of the lists. Within
 * a list each group narrows; an empty list covers nothing, as no lists at all do. At most 20 lists of at most 20 groups (UUIDs).
 */
export type Reach = 'fleet' | readonly (readonly string[])[]

/** Is every member of the group covered, whoever that is? Only then may somebody act on the group as a whole. */
export function coversGroup(reach: Reach, groupId: string): boolean {
  return (
    reach === 'fleet' ||
    reach.some((groups) => groups.length > 0 && groups.every((id) => id === groupId))
  )
}

/** May somebody know that the group exists? Of its members only those that are covered. */
export function knowsGroup(reach: Reach, groupId: string): boolean {
  return reach === 'fleet' || reach.some((groups) => groups.includes(groupId))
}

/** The groups of which somebody may know that they exist; undefined: all. */
export function knownGroups(reach: Reach): string[] | undefined {
  return reach === 'fleet' ? undefined : [...new Set(reach.flat())]
}

/** The groups that are covered as a whole; undefined: all. */
export function coveredGroups(reach: Reach): string[] | undefined {
  return knownGroups(reach)?.filter((id) => coversGroup(reach, id))
}
