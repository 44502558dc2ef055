import { abortBody, abortOptions } from './abort-rules.ts'
import type { Option } from './command.ts'
import { limitBody, limitOptions } from './limits-text.ts'
import { boundOptions, boundsBody } from './phase-bounds.ts'
import type { Values } from './values.ts'
import { windowBody, windowOptions } from './window-text.ts'

/** Options of `rollout create` and `rollout edit` that are the same. */
export const settingOptions: Record<string, Option> = {
  ...boundOptions,
  ...abortOptions,
  ...limitOptions,
  ...windowOptions,
  approvals: {
    type: 'string',
    value: 'N',
    about: 'so many others have to approve it (what the server demands)',
  },
  'start-at': {
    type: 'string',
    value: 'TIME',
    about:
      'start by itself then, once approved: 2030-01-31T02:00:00Z, 12h; none to start it by hand',
  },
}

/** What they say, as the server takes it; what was not given is undefined, and `none` is null. */
export function settingBody(values: Values, now: Date) {
  return {
    ...boundsBody(values),
    ...abortBody(values),
    ...limitBody(values),
    ...windowBody(values),
    approvals: values.number('approvals'),
    startAt: values.text('start-at') === 'none' ? null : values.instant('start-at', now),
  }
}
