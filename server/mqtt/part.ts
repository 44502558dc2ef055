import type { Socket } from 'node:net'

/**
 * Ends a device's connection at once: nothing more of what it sent is read. It is told so by a close_notify (RFC 8446 §6.1), since a
 * connection that ends without one is an error of the protocol to OpenSSL 3, and clients made with libmosquitto give up for good
 * where they would come back after an ordinary end. A device that does not read is not waited for.
 */
export function partWith(socket: Socket): void {
  if (socket.destroyed) return
  if (socket.writableEnded || socket.writableLength > 0) return void socket.destroy()
  socket.removeAllListeners('readable')
  socket.pause()
  socket.end()
  setImmediate(() => socket.destroy())
}

/** Whoever ends this connection from now on, Aedes included, ends it so. */
export function willPart(socket: Socket): void {
  const destroy = socket.destroy.bind(socket)
  socket.destroy = (error) => {
    socket.destroy = destroy
    if (error) return destroy(error)
    partWith(socket)
    return socket
  }
}
