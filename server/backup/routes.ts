import { route } from '../http/route.ts'
import { type Backups, listBackups, startBackup } from './service.ts'
import { BackupsView, StartedBackupView } from './wire.ts'

export const backupRoutes = [
  route({
    method: 'get',
    path: '/backups',
    summary: 'The backups that this server keeps, newest first, and the one that is being made',
    permission: 'backups:read',
    scope: 'fleet',
    response: BackupsView,
    handle: async ({ ctx }) => view(await listBackups(ctx)),
  }),

  route({
    method: 'post',
    path: '/backups',
    summary: 'Make a backup now; it is there when the list names it',
    permission: 'backups:create',
    scope: 'fleet',
    refuses: ['conflict', 'not-ready'],
    status: 202,
    response: StartedBackupView,
    handle: async ({ ctx, actor }) => ({
      name: await startBackup(ctx, { actor: actor.id, requestId: actor.requestId }),
    }),
  }),
]

function view({ files, running, failure }: Backups): BackupsView {
  return {
    backups: files.slice(0, 1_001).map(({ name, bytes, madeAt }) => ({
      name,
      bytes,
      madeAt: madeAt.toISOString(),
    })),
    running: running ?? null,
    failure: failure ?? null,
  }
}
