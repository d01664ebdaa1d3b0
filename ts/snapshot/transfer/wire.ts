/** A channel, as far as a transfer needs one. */
export interface Wire {
  send(frame: Uint8Array): void
  close(reason: string): void
}
