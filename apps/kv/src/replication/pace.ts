/** How work that takes long is spread over turns of the event loop, by the clock of the server. */

export interface Pace {
  /** Monotonic, in milliseconds. */
  now(): number
  /** Runs `callback` in the next turn. */
  defer(callback: () => void): void
}

/** Resolves in the next turn; without a pace, at once. */
export function nextTurn(pace: Pace | null): Promise<void> {
  return new Promise((resolve) => {
    if (pace === null) resolve()
    else pace.defer(resolve)
  })
}
