/** Plain counters of one transport since its start, so that tests and benchmarks can count instead of time. */

export interface TcpStats {
  /** Calls of `flush`. */
  flushes: number
  /** Writes handed to sockets: at most one per flush and connection; those of handshakes are not counted. */
  writes: number
  framesSent: number
  bytesSent: number
  /** Reads that brought bytes. */
  reads: number
  framesReceived: number
  bytesReceived: number
}

/** Bytes with one peer. */
export interface Counted {
  sent: number
  received: number
}

export const emptyStats = (): TcpStats => ({
  flushes: 0,
  writes: 0,
  framesSent: 0,
  bytesSent: 0,
  reads: 0,
  framesReceived: 0,
  bytesReceived: 0,
})
