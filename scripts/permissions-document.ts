import { writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'

import { permissionsNeeded } from '../server/http/access.ts'
import { routes } from '../server/http/app.ts'
import type { Route } from '../server/http/route.ts'
import { builtInRoles, permissions, permissionsOf } from '../server/protocol/permissions.ts'

export const permissionsFile = 'docs/permissions.md'

/** `docs/permissions.md`, whole. A test holds the file against it. */
export function permissionsDocument(): string {
  return `${[
    '# Permissions',
    '',
    'Made from the routes of the server by `node scripts/permissions-document.ts`; a test keeps it current.',
    '',
    'Every call asks for one permission. A role is a list of them; somebody has roles by grants (`fleetseal grant`), each for the whole fleet or',
    'for the devices that are in all of the groups that it names. Roles of your own (`fleetseal role create`) hold what you choose, and may name',
    'groups too: then a device has to be in those of the role and those of the grant. Several grants are no more than each of them. What',
    'somebody may do is looked up for each request, and nobody gives what he has not.',
    '',
    '- *fleet*: concerns the whole fleet: not for somebody who is limited to groups.',
    '- *shared*: says nothing about any device.',
    '- *devices*: shows, counts and changes only what is in the groups that the caller is limited to; anything else is not found.',
    '',
    '## Roles that are always there',
    '',
    `| permission | ${builtInRoles.join(' | ')} |`,
    `| --- |${builtInRoles.map(() => ' --- |').join('')}`,
    ...permissions.map((permission) => {
      const cells = builtInRoles.map((role) => {
        return permissionsOf[role].includes(permission) ? 'yes' : ''
      })
      return `| \`${permission}\` | ${cells.join(' | ')} |`
    }),
    '',
    '## Calls',
    '',
    '| permission | call | covers |',
    '| --- | --- | --- |',
    ...permissions.flatMap((permission) =>
      routes
        .filter((route) => permissionsNeeded(route.permission).includes(permission))
        .map((route) => `| \`${permission}\` | ${callOf(route, permission)} | ${route.scope} |`),
    ),
    '',
    '## More than one person',
    '',
    'By policy (`PUT /api/v1/approval-policies/KIND {"needed": 1}`) others have to agree first: `publication` of a release, `group-disable`, `role-change`',
    '(roles, grants, new keys, people, pipelines and certificates, the reset of an account in use, letting somebody back, and these policies themselves), and how many',
    'approve a `rollout-start`. An `override` of an owner takes two others always, or more by policy. Fewer than a policy asks for now takes as many as it asks for, who may decide on that kind.',
    'The call is then answered with 409 `approval-needed` and an `approvalId`. Others who may do the thing themselves see it in `GET /approvals` and',
    'agree with `POST /approvals/ID/actions {"action": "approve"}`; then its author makes the same call again, once, before it expires. What is',
    'agreed to is the call and the state of the thing: the signed file of a release, the name and query of a group (not its members, who come and',
    'go), the present grants and what the roles say. Any change of these needs a new agreement. Keys of one owner, or made by one person, by whatever',
    'key of theirs, are one voice; so is a key whose secret somebody made anew. To cut one device off never takes more than one person.',
    '',
    'At the command line: `fleetseal approval require KIND --needed N`, `policies`, `list`, `approve ID`, `reject ID` and `withdraw ID`. Whoever is refused is told the id.',
    '',
    'Without `role-change`, whoever manages keys can make one for a second voice: set it along with the others.',
  ].join('\n')}\n`
}

function callOf({ method, path, permission }: Route, needed: string): string {
  const call = `\`${method.toUpperCase()} ${path}\``
  if (typeof permission === 'string') return call
  const actions = Object.entries(permission.action).filter(([, each]) => each === needed)
  return `${call} (${actions.map(([action]) => action).join(', ')})`
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  writeFileSync(permissionsFile, permissionsDocument())
}
