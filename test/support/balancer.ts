import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface Balancer extends AsyncDisposable {
  port: number
  /** Connections that each port got, in their order. */
  counts: () => number[]
}

/** A TCP load balancer on loopback: each new connection goes to the next port that answers. It ends no TLS. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const counts = ports.map(() => 0)
  const open = new Set<Socket>()
  let turn = 0
  const server = createServer({ pauseOnConnect: true }, (client) => {
    client.on('error', () => client.destroy())
    hold(open, client)
    void pass(client, turn++)
  })
  const pass = async (client: Socket, first: number) => {
    for (let n = 0; n < ports.length; n++) {
      const at = (first + n) % ports.length
      const upstream = await answering(ports[at] ?? 0)
      if (!upstream) continue
      counts[at] = (counts[at] ?? 0) + 1
      hold(open, upstream)
      upstream.on('close', () => client.destroy())
      client.on('close', () => upstream.destroy())
      client.pipe(upstream)
      upstream.pipe(client)
      return
    }
    client.destroy()
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    counts: () => [...counts],
    [Symbol.asyncDispose]: async () => {
      for (const socket of open) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

function hold(open: Set<Socket>, socket: Socket): void {
  open.add(socket)
  socket.on('close', () => open.delete(socket))
}

async function answering(port: number): Promise<Socket | undefined> {
  const socket = connect({ host: 'localhost', port })
  try {
    await once(socket, 'connect')
    socket.on('error', () => socket.destroy())
    return socket
  } catch {
    return undefined
  }
}
