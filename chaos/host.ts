import { spawnSync } from 'node:child_process'

/** A host of its own: a network namespace with one cable to this machine. */
export interface Host extends AsyncDisposable {
  /** Of this machine, as that host sees it. */
  here: string
  /** Of that host. */
  there: string
  /** What runs a program there. */
  wrap: readonly string[]
  /** Of all packets, in both directions, so many percent are lost; 100: nothing passes. */
  lose: (percent: number) => void
}

const run = (command: string, ...args: string[]) =>
  spawnSync(command, args, { stdio: 'ignore' }).status === 0

/** Undefined where none may be made, which is for the privileged. `number` from 1 to 250 is nobody else's at the moment. */
export function makeHost(number: number): Host | undefined {
  const name = `fleetseal-chaos-${process.pid}-${number}`
  const cable = `fsc${process.pid}x${number}`.slice(-15)
  const [here, there] = [`10.203.${number}.1`, `10.203.${number}.2`]
  const inside = ['ip', 'netns', 'exec', name] as const
  const within = (...args: string[]) => run(inside[0], ...inside.slice(1), ...args)
  const remove = () => {
    run('ip', 'link', 'del', cable)
    run('ip', 'netns', 'del', name)
  }
  const isMade =
    run('ip', 'netns', 'add', name) &&
    run('ip', 'link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name) &&
    run('ip', 'addr', 'add', `${here}/30`, 'dev', cable) &&
    run('ip', 'link', 'set', cable, 'up') &&
    within('ip', 'addr', 'add', `${there}/30`, 'dev', 'eth0') &&
    within('ip', 'link', 'set', 'eth0', 'up') &&
    within('ip', 'link', 'set', 'lo', 'up') &&
    within('nft', 'add table inet chaos') &&
    within('nft', 'add chain inet chaos in { type filter hook input priority 0; }') &&
    within('nft', 'add chain inet chaos out { type filter hook output priority 0; }')
  if (!isMade) {
    remove()
    return undefined
  }
  return {
    here,
    there,
    wrap: inside,
    lose: (percent) => {
      within('nft', 'flush table inet chaos')
      if (percent <= 0) return
      const rule = `numgen random mod 100 < ${percent} drop`
      within('nft', `add rule inet chaos in iifname eth0 ${rule}`)
      within('nft', `add rule inet chaos out oifname eth0 ${rule}`)
    },
    [Symbol.asyncDispose]: async () => remove(),
  }
}
