/** What `tcp` takes: every bound of the transport with its default, checked before anything starts. */

import { checkOptionNames, optionsError, shown } from '../../option-checks.js'
import { parseAddress } from './address.js'
import { Credentials } from './credentials.js'
import { nodeSockets, type Sockets } from './sockets.js'
import type { TlsSource, TokenSource } from './tls-options.js'

/** What `tcp` takes. */
export interface TcpOptions {
  /** Where to accept peers: `host:port`, `[::1]:7000`; port 0 takes a free one. */
  readonly listen: string
  /** Where this server says that it is dialled, shown in its peers' logs. Default: the address to which it is bound. */
  readonly advertise?: string
  /**
   * With what connections are encrypted, and who is believed: certificate, key and CAs, or a function that reads them
   * (docs/security.md). All servers of a cluster and their clients have it, or none. Default: nothing is encrypted.
   */
  readonly tls?: TlsSource
  /** The secret of the cluster that whoever dials must have, too, or a function that reads it. Needs `tls`. */
  readonly token?: TokenSource
  /** A dial that has not connected by then has failed. 10 .. 60000, default 2000. */
  readonly dialTimeoutMs?: number
  /** From connecting to the end of the handshake, `admit` of both sides included. 10 .. 60000, default 5000. */
  readonly handshakeTimeoutMs?: number
  /**
   * After a failed dial the next one waits this long at first, then twice as long each time, less up to half at random.
   * 1 .. 60000, default 50.
   */
  readonly backoffMinMs?: number
  /** Up to this. `backoffMinMs` .. 600000, default 2000. */
  readonly backoffMaxMs?: number
  /**
   * A session whose requests nobody has answered for so long is over: its connection may be half-open. 100 .. 3600000,
   * default 10000.
   */
  readonly silenceMaxMs?: number
  /** What may wait for the peer on one connection. 64 KiB .. 1 GiB, default 16 MiB. */
  readonly writeQueueBytesMax?: number
  /**
   * Accepted connections at a time that have not shaken hands; of them a quarter from one address, or 8. Over that the
   * oldest goes. Members that have shaken hands do not count. 1 .. 65536, default 256.
   */
  readonly acceptedMax?: number
  /** 0 <= random() < 1, for the jitter of the backoff. Default `Math.random`. */
  readonly random?: () => number
}

export type TcpSettings = Required<Omit<TcpOptions, 'advertise' | 'tls' | 'token'>> & {
  readonly advertise: string | null
  readonly sockets: Sockets
  /** Null: nothing is encrypted. */
  readonly credentials: Credentials | null
}

const OPTION_NAMES = Object.keys({
  listen: true,
  advertise: true,
  tls: true,
  token: true,
  dialTimeoutMs: true,
  handshakeTimeoutMs: true,
  backoffMinMs: true,
  backoffMaxMs: true,
  silenceMaxMs: true,
  writeQueueBytesMax: true,
  acceptedMax: true,
  random: true,
} satisfies Record<keyof TcpOptions, true>)

export function tcpSettings(options: TcpOptions): TcpSettings {
  checkOptionNames('tcp', options, OPTION_NAMES)
  const backoffMinMs = bounded('backoffMinMs', options.backoffMinMs ?? 50, { min: 1, max: 60_000 })
  return {
    listen: listened(options.listen),
    advertise: advertised(options.advertise),
    dialTimeoutMs: bounded('dialTimeoutMs', options.dialTimeoutMs ?? 2000, { min: 10, max: 60_000 }),
    handshakeTimeoutMs: bounded('handshakeTimeoutMs', options.handshakeTimeoutMs ?? 5000, { min: 10, max: 60_000 }),
    backoffMinMs,
    backoffMaxMs: bounded('backoffMaxMs', options.backoffMaxMs ?? Math.max(2000, backoffMinMs), {
      min: backoffMinMs,
      max: 600_000,
    }),
    silenceMaxMs: bounded('silenceMaxMs', options.silenceMaxMs ?? 10_000, { min: 100, max: 3_600_000 }),
    writeQueueBytesMax: bounded('writeQueueBytesMax', options.writeQueueBytesMax ?? 16 * 2 ** 20, {
      min: 64 * 1024,
      max: 2 ** 30,
    }),
    acceptedMax: bounded('acceptedMax', options.acceptedMax ?? 256, { min: 1, max: 65_536 }),
    random: drawn(options.random),
    sockets: nodeSockets,
    credentials: Credentials.of('tcp', options, true),
  }
}

/** Only that it is a text: what is wrong with the text shows when it starts to listen. */
function listened(address: unknown): string {
  if (typeof address === 'string') return address
  throw optionsError(`tcp: listen is ${shown(address)}; it must be host:port, such as 127.0.0.1:7600 or [::1]:7600`)
}

function advertised(address: string | undefined): string | null {
  if (address === undefined) return null
  if (typeof address === 'string' && Buffer.byteLength(address) <= 255 && parseAddress(address) !== null) return address
  throw optionsError(`tcp: advertise is '${shown(address)}'; it must be host:port, up to 255 bytes`)
}

function drawn(random: (() => number) | undefined): () => number {
  if (random === undefined || typeof random === 'function') return random ?? Math.random
  throw optionsError('tcp: random must be a function with results in [0, 1)')
}

function bounded(name: string, value: number, range: { readonly min: number; readonly max: number }): number {
  if (Number.isFinite(value) && value >= range.min && value <= range.max) return value
  throw optionsError(`tcp: ${name} is ${shown(value)}; it must be in ${range.min} .. ${range.max}`)
}
