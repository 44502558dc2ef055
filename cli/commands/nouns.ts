import type { Noun } from '../command.ts'
import { apiKeyNoun } from './api-key.ts'
import { artifactNoun } from './artifact.ts'
import { auditNoun } from './audit.ts'
import { deviceNoun } from './device.ts'
import { eventsNoun } from './events.ts'
import { groupNoun } from './group.ts'
import { rolloutNoun } from './rollout.ts'

/** Every noun of the command line, in the order of the help. */
export const nouns: readonly Noun[] = [
  groupNoun,
  deviceNoun,
  artifactNoun,
  rolloutNoun,
  auditNoun,
  eventsNoun,
  apiKeyNoun,
]
