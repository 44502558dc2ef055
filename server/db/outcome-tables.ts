/** What rollouts tell apart among their failures, and where their devices can go back to: migration 0033. */

export interface DeploymentCodeCountTable {
  rollout_id: string
  phase_no: number
  kind: 'timeout' | 'dark' | 'rejected'
  shard: number
  n: number
}

/** Of a rollout back: what each device had before. */
export interface RollbackTargetTable {
  rollout_id: string
  device_id: string
  release_id: string
}
