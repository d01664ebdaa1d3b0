/** Peers made by hand, on real sockets: they send what a test tells them, whatever it is. */

import type { Socket } from 'node:net'
import { connect, createServer, type Server } from 'node:net'

import { introductionOf, Site } from '#balsa/testing/conformance/site.js'
import { MAGIC } from '#balsa/transport/tcp/connection.js'
import { tcp, type TcpOptions, type TcpTransport } from '#balsa/transport/tcp/index.js'
import type { Clock } from '#balsa/types.js'
import { decodeFrame, encodeHello, encodeMessage, frameMemory, NO_FEATURES, PROTOCOL } from 'balsa-raft/transport'
import type { Frame, Hello, Malformed, Request, Response } from 'balsa-raft/transport'

import type { MachineClock } from './machine-clock.js'
import { until } from '../support/until.js'

export interface Context {
  clock: MachineClock
  open: { close(): Promise<unknown> | void }[]
}

/** A started site on a free port. */
export async function start(
  context: Context,
  id: string,
  options: Partial<TcpOptions> = {},
  clock: Clock = context.clock,
): Promise<{ readonly site: Site; readonly transport: TcpTransport; readonly address: string }> {
  const transport = tcp({ listen: '127.0.0.1:0', backoffMinMs: 5, ...options })
  context.open.push(transport)
  const site = new Site(id, transport)
  return { site, transport, address: await site.start(clock) }
}

/** A peer made by hand: sends what it is told and keeps all that comes. */
export class RawPeer {
  readonly socket: Socket
  bytes = Buffer.alloc(0)
  isClosed = false

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => (this.bytes = Buffer.concat([this.bytes, chunk])))
    socket.on('error', () => {})
    socket.on('close', () => (this.isClosed = true))
  }

  static async dial(context: Context, address: string): Promise<RawPeer> {
    const peer = new RawPeer(connect({ host: '127.0.0.1', port: Number(address.split(':')[1]) }))
    context.open.push(peer)
    await new Promise((resolve) => peer.socket.once('connect', resolve))
    return peer
  }

  close(): void {
    this.socket.destroy()
  }

  hello(id: string, targetId: string, part: Partial<Hello> = {}): void {
    this.socket.write(Buffer.concat([MAGIC, encodeHello(helloOf(id, targetId, part))]))
  }

  /** The frames that came so far, read. */
  read(): readonly (Frame | Malformed)[] {
    return this.frames().map((frame) => decodeFrame(frameMemory(frame)))
  }

  frames(): readonly Buffer[] {
    const frames: Buffer[] = []
    for (let at = MAGIC.length; at + 4 <= this.bytes.length;) {
      const length = this.bytes.readUInt32LE(at)
      if (at + length > this.bytes.length) break
      frames.push(this.bytes.subarray(at, at + length))
      at += length
    }
    return frames
  }

  /** The reason with which this peer was refused; empty when the connection has ended without one. */
  async refusal(): Promise<string> {
    const find = () => this.read().find((frame) => frame.type === 'refusal')
    await until('the other side refuses', () => find() !== undefined || this.isClosed)
    const frame = find()
    return frame?.type === 'refusal' ? `${frame.code}: ${frame.reason}` : ''
  }

  async welcome(): Promise<void> {
    await until('the other side says welcome', () => this.read().some((frame) => frame.type === 'welcome'))
  }
}

/** Of a peer that offers nothing, unless `part` says so. */
export function helloOf(id: string, targetId: string, part: Partial<Hello> = {}): Omit<Hello, 'type'> {
  return { ...introductionOf(id), protocol: PROTOCOL, targetId, address: 'raw:1', features: [], requires: [], ...part }
}

export function messageFrame(message: Request | Response): Buffer {
  return Buffer.from(encodeMessage(message, NO_FEATURES))
}

/** A listener by hand; returns its address. */
export async function listen(context: Context, onSocket: (socket: Socket) => void): Promise<string> {
  const sockets: Socket[] = []
  const server = createServer((socket) => {
    sockets.push(socket)
    socket.on('error', () => {})
    onSocket(socket)
  })
  context.open.push({
    close: () => {
      for (const socket of sockets) socket.destroy()
      return new Promise((resolve) => server.close(resolve))
    },
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return addressOf(server)
}

export function addressOf(server: Server): string {
  const address = server.address()
  return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
}
