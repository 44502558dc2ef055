import { type Column, renderTable } from '../cli/table.ts'
import type { DemoDevice } from './fleet.ts'
import { installedVersion } from './fleet.ts'
import type { Observer } from './observer.ts'
import { newVersion } from './story.ts'

interface Row {
  serialNumber: string
  runs: string
  onServer: string
  story: string
  asItShould: boolean
}

/**
 * Compares what every device runs with what the server believes and with what its owner wanted, and looks for what must
 * never be: an acknowledged report that is gone, a serial number given twice. Returns the table and what is wrong.
 */
export async function judge(
  devices: readonly DemoDevice[],
  rolloutId: string,
  observer: Observer,
): Promise<{ table: string; wrong: string[] }> {
  const deployments = (await observer.deployments(rolloutId)) ?? []
  const rows = devices.map((device): Row => {
    const deployment = deployments.find(({ deviceId }) => deviceId === device.deviceId)
    return rowOf(device, deployment?.state ?? '', deployment?.postponements ?? 0)
  })
  const wrong = [
    ...rows
      .filter((row) => !row.asItShould)
      .map((row) => `${row.serialNumber}: ${row.story}, runs ${row.runs}, ${row.onServer}`),
    ...(await lostReports(devices, observer)),
    ...(await repeatedSerials(devices, observer)),
  ]
  return { table: renderTable(columns, rows), wrong }
}

const columns: Column<Row>[] = [
  { head: 'device', cell: (row) => row.serialNumber },
  { head: 'runs', cell: (row) => row.runs },
  { head: 'on the server', cell: (row) => row.onServer },
  { head: 'what happened', cell: (row) => row.story },
  { head: 'as it should', cell: (row) => (row.asItShould ? 'yes' : 'NO') },
]

function rowOf(device: DemoDevice, state: string, postponements: number): Row {
  const runs = installedVersion(device)
  const base = { serialNumber: device.serialNumber, runs, onServer: state || 'never met' }
  const isNew = runs === newVersion && state === 'succeeded'
  switch (device.role) {
    case 'usual':
      return { ...base, story: 'updated by itself', asItShould: isNew }
    case 'postpones': {
      const story = `owner postponed ${postponements}×, updated when the time had come`
      return { ...base, story, asItShould: isNew && postponements === 1 }
    }
    case 'opts out': {
      const asItShould = runs !== newVersion && state === 'opted_out'
      return { ...base, story: 'owner opted out; told, not updated', asItShould }
    }
    case 'revoked': {
      const asItShould = runs !== newVersion && state === '' && !device.agent.status()?.connected
      return { ...base, story: 'revoked in the middle; got nothing', asItShould }
    }
    default:
      return device.role satisfies never
  }
}

async function lostReports(devices: readonly DemoDevice[], observer: Observer): Promise<string[]> {
  const lost: string[] = []
  for (const { serialNumber, acknowledged } of devices) {
    for (const id of new Set(acknowledged.map((report) => report.deploymentId))) {
      const { history } = await observer.deployment(id)
      const known = new Set<string>(history.map(({ to }) => to))
      const missing = acknowledged.filter(
        (report) => report.deploymentId === id && !known.has(report.state),
      )
      lost.push(
        ...missing.map(({ state }) => `${serialNumber}: the acknowledged report ${state} is lost`),
      )
    }
  }
  return lost
}

async function repeatedSerials(
  devices: readonly DemoDevice[],
  observer: Observer,
): Promise<string[]> {
  const seen = new Set<string>()
  const repeated: string[] = []
  for (const { deviceId } of devices) {
    for (const { authorityId, serial } of await observer.certificates(deviceId)) {
      const name = `${authorityId} ${serial}`
      if (seen.has(name)) repeated.push(`serial number ${serial} was issued twice`)
      seen.add(name)
    }
  }
  return repeated
}
