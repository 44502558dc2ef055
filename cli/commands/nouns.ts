import type { Noun } from '../command.ts'
import { alertNoun } from './alert.ts'
import { apiKeyNoun } from './api-key.ts'
import { approvalNoun } from './approval.ts'
import { artifactNoun } from './artifact.ts'
import { auditNoun } from './audit.ts'
import { authorityNoun } from './authority.ts'
import { backupNoun } from './backup.ts'
import { ceremonyNoun } from './ceremony.ts'
import { certificateNoun } from './certificate.ts'
import { databaseNoun } from './database.ts'
import { ddiNoun } from './ddi.ts'
import { deviceNoun } from './device.ts'
import { doctorNoun } from './doctor.ts'
import { enrollmentNoun } from './enrollment.ts'
import { eventsNoun } from './events.ts'
import { grantNoun } from './grant.ts'
import { groupNoun } from './group.ts'
import { logNoun } from './log.ts'
import { modelNoun } from './model.ts'
import { operatorCertificateNoun } from './operator-certificate.ts'
import { personNoun } from './person.ts'
import { releaseNoun } from './release.ts'
import { roleNoun } from './role.ts'
import { rolloutNoun } from './rollout.ts'
import { scepNoun } from './scep.ts'
import { settingsNoun } from './settings.ts'
import { signNoun } from './sign.ts'
import { webhookNoun } from './webhook.ts'
import { blackoutNoun, windowNoun } from './window.ts'
import { workloadNoun } from './workload.ts'

/** Every noun of the command line, in the order of the help. */
export const nouns: readonly Noun[] = [
  groupNoun,
  enrollmentNoun,
  scepNoun,
  deviceNoun,
  settingsNoun,
  certificateNoun,
  artifactNoun,
  modelNoun,
  ddiNoun,
  releaseNoun,
  signNoun,
  rolloutNoun,
  windowNoun,
  blackoutNoun,
  authorityNoun,
  ceremonyNoun,
  auditNoun,
  databaseNoun,
  backupNoun,
  doctorNoun,
  logNoun,
  eventsNoun,
  alertNoun,
  webhookNoun,
  personNoun,
  apiKeyNoun,
  workloadNoun,
  operatorCertificateNoun,
  roleNoun,
  grantNoun,
  approvalNoun,
]
