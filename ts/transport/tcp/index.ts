/** The door of the TCP transport. */

export type { TcpOptions } from './options.js'
export type { TcpStats } from './stats.js'
export { tcp, type TcpTransport } from './tcp-transport.js'
export type { Pem } from './certificates.js'
export type { TlsOptions, TlsSource, Token, TokenSource } from './tls-options.js'
