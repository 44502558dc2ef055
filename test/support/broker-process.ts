import { connectPostgres } from '../../server/db/client.ts'
import type { BrokerPki, Credentials } from './broker-pki.ts'
import { startTestBroker } from './broker.ts'

/** A test broker in a process of its own, so that it can be killed. Says its port on standard output. */
export interface BrokerProcessInput {
  databaseUrl: string
  authorities: BrokerPki['authorities']
  devices: Credentials[]
}

const input = JSON.parse(process.argv[2] ?? '{}') as BrokerProcessInput
const pki = {
  authorities: { ...input.authorities, onRenewal: () => {} },
} as unknown as BrokerPki
const broker = await startTestBroker(connectPostgres(input.databaseUrl), { pki })
for (const device of input.devices) broker.directory.allow(device)
process.stdout.write(`${broker.broker.port}\n`)
