/** What the transport takes of node:net, in one place: tests put a network of their own there. */

import { connect, createServer, type OnReadOpts, type Server, type Socket } from 'node:net'
import type { Address } from './address.js'
import { takeOver } from './take-over.js'

export interface Sockets {
  /** A server that hands over what it accepts before anything is read from it. */
  server(onConnection: (socket: Socket) => void): Server
  /** A socket on its way to that address, which reads through `onread`; not one for TLS. */
  dial(address: Address, onread: OnReadOpts): Socket
  /** A socket in place of an accepted one that reads through `onread`, or null: then what it reads is copied. */
  takeOver(accepted: Socket, onread: OnReadOpts): Socket | null
}

export const nodeSockets: Sockets = {
  server: (onConnection) => createServer({ pauseOnConnect: true }, onConnection),
  dial: ({ host, port }, onread) => connect({ host, port, onread }),
  takeOver,
}
