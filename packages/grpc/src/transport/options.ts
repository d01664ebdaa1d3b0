/** What `grpcTransport` takes: every bound of the transport with its default, checked before anything starts. */

import { ChannelCredentials, type ChannelOptions, Metadata, type Server } from '@grpc/grpc-js'
import { checkNames, numberIn, optionsError } from '../options.js'
import { MESSAGE_BYTES_MAX, raftService } from './service.js'

/** What `grpcTransport` takes. */
export interface GrpcTransportOptions {
  /**
   * The application's own gRPC server: bound, and with its credentials, by the application. It carries one server of
   * Balsa at a time, beside whatever else the application serves on it.
   */
  readonly server: Server
  /** Where peers dial this server, as it stands in the list of members: `host:port`, or a target of gRPC. */
  readonly address: string
  /** With what peers are dialled: `credentials.createSsl(...)`, or `credentials.createInsecure()`. */
  readonly credentials: ChannelCredentials
  /**
   * Options of gRPC for the channels on which peers are dialled, such as `grpc.keepalive_time_ms` and
   * `grpc.ssl_target_name_override`. Each connection has a channel of its own, and is never tried again by gRPC.
   */
  readonly channelOptions?: ChannelOptions
  /** Bytes that are sent in one gRPC message. 16 KiB .. 2 MiB, default 256 KiB. */
  readonly messageBytesMax?: number
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

export type GrpcSettings = Required<GrpcTransportOptions> & {
  /** The only method, for words. */
  readonly path: string
  readonly noMetadata: Metadata
}

const OPTION_NAMES = Object.keys({
  server: true,
  address: true,
  credentials: true,
  channelOptions: true,
  messageBytesMax: true,
  dialTimeoutMs: true,
  handshakeTimeoutMs: true,
  backoffMinMs: true,
  backoffMaxMs: true,
  silenceMaxMs: true,
  writeQueueBytesMax: true,
  acceptedMax: true,
  random: true,
} satisfies Record<keyof GrpcTransportOptions, true>)

const CALL = 'grpcTransport'
const ADDRESS_REMEDY =
  'it must be host:port, such as kv-1.internal:7600, or a target of gRPC, such as unix:/run/kv.sock'

export function grpcSettings(options: GrpcTransportOptions): GrpcSettings {
  checkNames(CALL, options, OPTION_NAMES)
  const { server, address, credentials, channelOptions = {}, random = Math.random } = options
  checkParts(options)
  const backoffMinMs = bounded('backoffMinMs', options.backoffMinMs, 50, [1, 60_000])
  return {
    ...{ server, address, credentials, random, path: raftService.Connect.path, noMetadata: new Metadata() },
    channelOptions: { ...CHANNEL_DEFAULTS, ...channelOptions, ...OWN_CHANNEL_OPTIONS },
    messageBytesMax: bounded('messageBytesMax', options.messageBytesMax, 256 * 1024, [16 * 1024, MESSAGE_BYTES_MAX]),
    dialTimeoutMs: bounded('dialTimeoutMs', options.dialTimeoutMs, 2000, [10, 60_000]),
    handshakeTimeoutMs: bounded('handshakeTimeoutMs', options.handshakeTimeoutMs, 5000, [10, 60_000]),
    backoffMinMs,
    backoffMaxMs: bounded('backoffMaxMs', options.backoffMaxMs, Math.max(2000, backoffMinMs), [backoffMinMs, 600_000]),
    silenceMaxMs: bounded('silenceMaxMs', options.silenceMaxMs, 10_000, [100, 3_600_000]),
    writeQueueBytesMax: bounded('writeQueueBytesMax', options.writeQueueBytesMax, 16 * 2 ** 20, [64 * 1024, 2 ** 30]),
    acceptedMax: bounded('acceptedMax', options.acceptedMax, 256, [1, 65_536]),
  }
}

/** A window that does not hold up a long distance; and no statistics of single messages, which nobody has asked for. */
const CHANNEL_DEFAULTS: ChannelOptions = { 'grpc-node.flow_control_window': 2 ** 20, 'grpc.enable_channelz': 0 }

/**
 * Not for the application to change: what waits on one connection must not hold up another; and what is over is over,
 * for whoever dials again shakes hands again.
 */
const OWN_CHANNEL_OPTIONS: ChannelOptions = {
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_retries': 0,
  // Else gRPC keeps up to 1 MiB of what is written, to send it again, and says at once that it was sent.
  'grpc.per_rpc_retry_buffer_size': 0,
  'grpc.service_config_disable_resolution': 1,
}

/** What is wrong with an address at which a peer is to be dialled, or null. */
export function addressFlaw(address: string): string | null {
  const port = /^(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:[\]/]+):(\d{1,5})$/.exec(address)?.[1]
  if (port !== undefined && Number(port) >= 1 && Number(port) <= 65_535) return null
  return /^(?:dns|ipv4|ipv6|unix|xds):\S+$|^[a-z][a-z0-9+.-]*:\/\/\S+$/i.test(address) ? null : ADDRESS_REMEDY
}

function checkParts({ server, address, credentials, channelOptions, random }: GrpcTransportOptions): void {
  if (!isLike(server, ['addService', 'removeService', 'bindAsync'])) {
    throw optionsError(`${CALL}: server must be a Server of @grpc/grpc-js: new Server()`)
  }
  if (typeof address !== 'string' || Buffer.byteLength(address) > 255 || addressFlaw(address) !== null) {
    throw optionsError(`${CALL}: address is not one of up to 255 bytes; ${ADDRESS_REMEDY}`)
  }
  // As gRPC itself asks: those of another copy of the library it does not take.
  if (!(credentials instanceof ChannelCredentials)) {
    throw optionsError(
      `${CALL}: credentials must be channel credentials of @grpc/grpc-js: credentials.createSsl(...), or ` +
        'credentials.createInsecure() where nobody else listens',
    )
  }
  if (channelOptions !== undefined && !isLike(channelOptions, [])) {
    throw optionsError(`${CALL}: channelOptions must be an object of options of gRPC`)
  }
  if (random !== undefined && typeof random !== 'function') {
    throw optionsError(`${CALL}: random must be a function with results in [0, 1)`)
  }
}

/** Not `instanceof`: an application may have another copy of the library. */
function isLike(value: unknown, functions: readonly string[]): boolean {
  if (typeof value !== 'object' || value === null) return false
  return functions.every((name) => typeof (value as Readonly<Record<string, unknown>>)[name] === 'function')
}

function bounded(name: string, value: number | undefined, byDefault: number, range: readonly [number, number]): number {
  return numberIn(`${CALL}: ${name}`, value ?? byDefault, ...range)
}
