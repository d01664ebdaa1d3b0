/** What TLS and the token of a cluster take: their shapes, and the check of what is given or was read. */

/** Certificates or a key in PEM, as text or as its bytes; several certificates stand one behind the other. */
export type Pem = string | Uint8Array

/** What connections are encrypted with, and who is believed; names that `node:tls` has mean the same here. */
export interface TlsOptions {
  /**
   * The certificate of this side, and behind it those that lead to the CA. A server dials and is dialled: if its
   * extended key usage is limited, it must have both serverAuth and clientAuth. Only a client may leave it out, where
   * servers ask for none.
   */
  readonly cert?: Pem
  /** The private key of `cert`. */
  readonly key?: Pem
  /** With which `key` is encrypted, if it is. */
  readonly passphrase?: string
  /** Whose certificates are believed: only these; what the system or Node.js believes does not count. */
  readonly ca: Pem
  /** Which of their certificates are believed no longer: one list for each CA. */
  readonly crl?: Pem
  /**
   * The certificate of server `{id}` must have this alternative name: `DNS:{id}.kv.internal` or
   * `URI:balsa://kv/{id}`. Both who is dialled and who dials must then be who they say. Without it the certificate of
   * who is dialled must have the host of the address that was dialled, and whoever has any certificate of `ca` may call
   * itself any server.
   */
  readonly san?: string
  /**
   * Whether a server asks those who dial it, peers and clients alike, for a certificate. Default true. False is for a
   * cluster with a token: who dials is then known by the token alone.
   */
  readonly requestCert?: boolean
  /** Whether a certificate that cannot be trusted ends the connection. Default true; false trusts anybody. */
  readonly rejectUnauthorized?: boolean
  /** Default 'TLSv1.3'. */
  readonly minVersion?: 'TLSv1.2' | 'TLSv1.3'
}

/** The options, or a function that reads them: at the start, and again at each `reload`. */
export type TlsSource = TlsOptions | (() => TlsOptions | Promise<TlsOptions>)

/**
 * The secret that all servers and clients of a cluster share, 16 .. 1024 bytes: who dials proves that it has it, inside
 * the encrypted connection. Of several the first is shown, and each is accepted, so that one can replace another. Or a
 * function that reads them: at the start, and again at each `reload`.
 */
export type TokenSource = Token | (() => Token | Promise<Token>)

/** One token, or those that are accepted while one replaces another; the first is shown. */
export type Token = string | readonly string[]
