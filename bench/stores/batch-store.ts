/**
 * What the log stores that are compared have in common: one batch of entries at a time, durable when the promise
 * resolves.
 */

export interface BatchStore {
  /** `count` entries of the payload, in one commit. */
  append(count: number, payload: Uint8Array): Promise<void>
  /** Device flushes so far, where the store counts them itself; null where only the system can tell. */
  flushes(): number | null
  close(): Promise<void>
}

export interface BatchStoreMaker {
  readonly name: string
  /** Rejects when the package cannot be loaded here. */
  open(dir: string): Promise<BatchStore>
}
