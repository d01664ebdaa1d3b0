/**
 * Who is at the other end of one encrypted connection, and why it is believed, or not: first by its certificate, then,
 * of who dials, by the token, then by the id that it says; and by all of them again when they are read anew.
 *
 * What has a flaw is said in words for both sides; null: there is none.
 */

import type { OnReadOpts } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Frame, Malformed, ServerId } from '../index.js'
import { type Dialled, type Material, NO_TOKEN } from './material.js'
import type { Secret } from './secret.js'

export class Trust {
  readonly socket: TLSSocket
  /** Null: it has dialled this side. */
  readonly #dialled: Dialled | null
  /** What it was made with, or has been found to be good for since. */
  #material: Material
  /** Whether whoever has dialled must still prove the token, or may, or no more. */
  #proof: 'awaited' | 'allowed' | 'past'
  /** The token that was proven. */
  #proven: Secret | null = null

  /** On its way. Its `flaw` is asked for at `secureConnect`. */
  static dial(material: Material, dialled: Dialled, onread: OnReadOpts): Trust {
    return new Trust(material.dial(dialled.address, onread), material, dialled)
  }

  /** `dialled`: whom this side has dialled. */
  constructor(socket: TLSSocket, material: Material, dialled: Dialled | null) {
    this.socket = socket
    this.#material = material
    this.#dialled = dialled
    this.#proof = dialled === null ? proofUnder(material) : 'past'
  }

  /** Whether the handshake was made with that. */
  isMadeWith(material: Material | undefined): boolean {
    return material === this.#material
  }

  /** Once hands of TLS are shaken, before anything else. */
  flaw(): string | null {
    if (this.#dialled === null) return this.#material.flawOfDialling(this.socket)
    return this.#material.flawOfDialled(this.socket, this.#dialled)
  }

  /** What whoever has dialled shows before it says anything else; null: there is no token. */
  proof(): Uint8Array | null {
    return this.#material.proofFor(this.socket)
  }

  /** Whether a frame may be a proof, or must be. */
  get isToProve(): boolean {
    return this.#proof !== 'past'
  }

  /** Of the first frame that could be a proof. */
  flawOfFirst(frame: Frame | Malformed): string | null {
    // Who refuses this side need not prove anything for that.
    if (frame.type === 'refusal' || frame.type === 'Malformed') return null
    const isAwaited = this.#proof === 'awaited'
    this.#proof = 'past'
    if (frame.type === 'proof') this.#proven = this.#material.provenBy(frame.data, this.socket)
    return isAwaited && this.#proven === null ? NO_TOKEN : null
  }

  /** Of the server that it says it is. */
  flawOfId(id: ServerId): string | null {
    return this.#material.flawOfId(this.socket, id, this.#dialled !== null)
  }

  /** Whether it would be believed under another material, which is then the one it is judged by. */
  flawUnder(material: Material, id: ServerId | null, wallNow: number): string | null {
    const side = { dialled: this.#dialled, id, proven: this.#proven, isAsked: this.isToProve }
    const flaw = material.flawNow(this.socket, side, this.#material, wallNow)
    if (flaw !== null) return flaw
    this.#material = material
    if (this.isToProve) this.#proof = proofUnder(material)
    return null
  }
}

const proofUnder = (material: Material): 'awaited' | 'allowed' => (material.needsProof ? 'awaited' : 'allowed')
