import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createServer } from 'node:tls'

import { Aedes } from 'aedes'
import pg from 'pg'

/* The floor of a stored message: Aedes, and one INSERT for each before its PUBACK, over a pool of ten. Arguments: folder of keys, database. */

const [folder = '', url = ''] = process.argv.slice(2)
const pool = new pg.Pool({ connectionString: url, max: 10 })
await pool.query(
  'create table if not exists floor_event (id uuid primary key, at timestamptz not null, device_id uuid not null, kind text not null, facts jsonb not null)',
)
await pool.query('create index if not exists floor_event_device on floor_event (device_id, id)')
const insert = {
  name: 'insert',
  text: 'insert into floor_event (id, at, device_id, kind, facts) values ($1, now(), $2, $3, $4)',
}
const aedes = await Aedes.createBroker({
  authorizePublish: (client, packet, done) => {
    const facts = packet.payload.toString()
    pool.query({ ...insert, values: [randomUUID(), client?.id, 'bench', facts] }, (error) =>
      done(error ?? null),
    )
  },
})
const server = createServer(
  {
    key: await readFile(join(folder, 'server.key')),
    cert: await readFile(join(folder, 'server.pem')),
    ca: await readFile(join(folder, 'ca.pem')),
    requestCert: true,
    rejectUnauthorized: true,
    noDelay: true,
  },
  (socket) => {
    socket.on('error', () => {})
    aedes.handle(socket)
  },
)
server.listen(0, '127.0.0.1')
await once(server, 'listening')
console.log(`port ${(server.address() as AddressInfo).port}`)
