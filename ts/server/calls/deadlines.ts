/**
 * Deadlines of callers who asked for one, in coarse buckets: no timer per call. A deadline is met up to BUCKET_MS late,
 * never early.
 */

export interface Expirable {
  expire(): void
}

const BUCKET_MS = 8

export class Deadlines {
  /** By the end of the bucket in BUCKET_MS: what expires when that has come. None is empty. */
  readonly #buckets = new Map<number, Set<Expirable>>()
  /** Invariant: not above the end of any bucket. */
  #nextAt = Infinity

  /** When `expire` should be called; Infinity when nothing waits. May be too early, never too late. */
  get nextAt(): number {
    return this.#nextAt
  }

  get count(): number {
    let count = 0
    for (const waiting of this.#buckets.values()) count += waiting.size
    return count
  }

  /** Returns the bucket, which `remove` wants back. */
  add(at: number, waiting: Expirable): number {
    const bucket = Math.ceil(at / BUCKET_MS)
    const known = this.#buckets.get(bucket)
    if (known === undefined) this.#buckets.set(bucket, new Set([waiting]))
    else known.add(waiting)
    this.#nextAt = Math.min(this.#nextAt, bucket * BUCKET_MS)
    return bucket
  }

  remove(bucket: number, waiting: Expirable): void {
    const known = this.#buckets.get(bucket)
    if (known?.delete(waiting) === true && known.size === 0) this.#buckets.delete(bucket)
  }

  expire(now: number): void {
    if (now < this.#nextAt) return
    this.#nextAt = Infinity
    for (const [bucket, waiting] of this.#buckets) {
      if (bucket * BUCKET_MS <= now) {
        this.#buckets.delete(bucket)
        for (const each of waiting) each.expire()
      } else {
        this.#nextAt = Math.min(this.#nextAt, bucket * BUCKET_MS)
      }
    }
  }
}
