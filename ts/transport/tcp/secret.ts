/**
 * A token, and how it is proven: with a code over what only the two ends of one TLS connection can derive from it
 * (RFC 5705, RFC 8446 7.5). So the token itself is sent nowhere, and what one connection carried proves nothing on
 * another.
 */

import { createHmac, timingSafeEqual } from 'node:crypto'
import type { TLSSocket } from 'node:tls'
import { PROOF_BYTES } from '../index.js'

const LABEL = 'EXPERIMENTAL-balsa-token'

export class Secret {
  /** Private also to whoever prints it. */
  readonly #token: string

  constructor(token: string) {
    this.#token = token
  }

  /** Invariant: the handshake of TLS is over. */
  proofFor(socket: TLSSocket): Uint8Array {
    const bound = socket.exportKeyingMaterial(PROOF_BYTES, LABEL, Buffer.alloc(0))
    return createHmac('sha256', this.#token).update(bound).digest()
  }

  isProvenBy(proof: Uint8Array, socket: TLSSocket): boolean {
    return timingSafeEqual(proof, this.proofFor(socket))
  }

  isSameAs(other: Secret): boolean {
    return timingSafeEqual(digest(this.#token), digest(other.#token))
  }
}

const digest = (token: string): Buffer => createHmac('sha256', LABEL).update(token).digest()
