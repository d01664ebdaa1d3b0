/**
 * Every start of this server, each with the nonce that was drawn for it. A peer that knows one of them believes a later
 * one only when it is shown that nonce: an older copy of the folder that is started often comes to the same counters,
 * and to other nonces.
 *
 * Invariant: nothing is said to a peer before the nonce of this boot is durable. A boot that ends before has none, and
 * no peer can have heard of it.
 */

import { randomBytes } from 'node:crypto'
import type { StoredState } from '../storage/log-store.js'
import type { Boot, ServerId, StoreOperation } from '../types.js'

/** One fact holds so many, so that a start does not write all of them again. */
const CHUNK_BOOTS = 64
const NONCE_BYTES = 16
const KEY = /^boots\/(\d+)$/

/** The newest boots are kept, this many at least. A peer that knows only older ones refuses this server. */
export const BOOTS_KEPT = 2 ** 16
const CHUNKS_KEPT = BOOTS_KEPT / CHUNK_BOOTS + 1

/** How many a peer is shown that has not asked for one. */
const BOOTS_SHOWN = 16

export class OwnBoots {
  /** The one that runs. */
  readonly newest: Boot
  /** By the part of the counter that they share: 16 bytes for each boot, zeros for one without a nonce. */
  readonly #chunks = new Map<number, Uint8Array>()
  /** By peer: which boot it wants to be shown. */
  readonly #wanted = new Map<ServerId, number>()
  /** The newest of the earlier boots, as whoever asks for none is shown them: they do not change any more. */
  readonly #recent: readonly Boot[]

  constructor({ facts, bootCounter }: StoredState, bootNonce: string) {
    this.newest = { bootCounter, bootNonce }
    for (const [key, value] of facts) {
      const chunk = KEY.exec(key)?.[1]
      if (chunk !== undefined) this.#chunks.set(Number(chunk), value)
    }
    const chunk = chunkOf(bootCounter)
    const at = offsetOf(bootCounter)
    const nonces = new Uint8Array(at + NONCE_BYTES)
    nonces.set((this.#chunks.get(chunk) ?? new Uint8Array(0)).subarray(0, at))
    nonces.set(Buffer.from(bootNonce, 'hex'), at)
    this.#chunks.set(chunk, nonces)
    this.#recent = this.#bootsFrom(Math.max(bootCounter - BOOTS_SHOWN, 1), bootCounter)
  }

  /** What must be durable before this boot is shown to anybody. */
  takeWrites(): readonly StoreOperation[] {
    const newest = chunkOf(this.newest.bootCounter)
    const writes: StoreOperation[] = []
    for (const [chunk, value] of this.#chunks) {
      const key = `boots/${chunk}`
      if (chunk === newest) writes.push({ type: 'put', key, value })
      if (chunk > newest - CHUNKS_KEPT) continue
      this.#chunks.delete(chunk)
      writes.push({ type: 'delete', key })
    }
    return writes
  }

  /** That peer has pinned this boot, and wants to see it in what it is told from now on; 0 when it has pinned none. */
  wants(peer: ServerId, bootCounter: number): void {
    this.#wanted.set(peer, bootCounter)
  }

  /** The earlier boots that a peer is shown: what it wants to see, and the newest. Ascending. */
  shownTo(peer: ServerId): readonly Boot[] {
    const first = Math.max(this.newest.bootCounter - BOOTS_SHOWN, 1)
    const wanted = this.#wanted.get(peer) ?? 0
    if (wanted === 0 || wanted >= first) return this.#recent
    return [...this.#bootsFrom(wanted, wanted + 1), ...this.#recent]
  }

  /** Those of first .. end - 1 that have a nonce. */
  #bootsFrom(first: number, end: number): Boot[] {
    const boots: Boot[] = []
    for (let bootCounter = first; bootCounter < end; bootCounter += 1) {
      const bootNonce = this.#nonceOf(bootCounter)
      if (bootNonce !== null) boots.push({ bootCounter, bootNonce })
    }
    return boots
  }

  /** Null when it has none, or is not kept any more. */
  #nonceOf(bootCounter: number): string | null {
    const at = offsetOf(bootCounter)
    const nonce = this.#chunks.get(chunkOf(bootCounter))?.subarray(at, at + NONCE_BYTES)
    return nonce?.some((byte) => byte !== 0) === true ? Buffer.from(nonce).toString('hex') : null
  }
}

export function drawNonce(): string {
  return randomBytes(NONCE_BYTES).toString('hex')
}

const chunkOf = (bootCounter: number): number => Math.floor(bootCounter / CHUNK_BOOTS)
const offsetOf = (bootCounter: number): number => (bootCounter % CHUNK_BOOTS) * NONCE_BYTES
