import { VerificationError } from '../pki/tuf/errors.ts'
import { isEvaluation, openRoot } from '../pki/tuf/repository.ts'
import type { TrustedState } from '../pki/tuf/types.ts'
import { DeviceError } from './errors.ts'

/**
 * Refuses roots with which this device could never take an update, while its maker is still there to give it others: at the
 * first update nobody is (updates.md 3.6).
 *
 * @throws DeviceError `config`
 */
export function checkRoots(
  { image, director }: TrustedState,
  { allowEvaluation }: { allowEvaluation: boolean },
): void {
  const isImageEvaluation = isEvaluationRoot(image.root, '--image-root')
  const isDirectorEvaluation = isEvaluationRoot(director.root, '--director-root')
  if (isImageEvaluation !== isDirectorEvaluation) {
    throw new DeviceError(
      'config',
      'One of the two roots was made for evaluation and the other was not',
      'Give root 1 of both repositories of the same server, into an empty directory',
    )
  }
  if (isImageEvaluation && !allowEvaluation) {
    throw new DeviceError(
      'config',
      'The roots were made for evaluation: this device would refuse every update signed under them',
      'Enroll with --allow-evaluation to try the product out, or with roots made for production',
    )
  }
}

function isEvaluationRoot(text: string, option: string): boolean {
  try {
    return isEvaluation(openRoot(text))
  } catch (cause) {
    if (!(cause instanceof VerificationError)) throw cause
    throw new DeviceError(
      'config',
      `${option} is not a root of updates: ${cause.message}`,
      'Give root 1 of the repository, into an empty directory',
      { cause },
    )
  }
}
