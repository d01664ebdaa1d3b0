/** Waits for a fact that nothing announces: asks for it again and again, with a deadline. */

const ASK_EVERY_MS = 2

/** Rejects with `what` when it still does not hold at the deadline. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, deadlineMs = 60_000): Promise<void> {
  const deadline = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`still not so after ${deadlineMs} ms: ${what}`)
    await pause(ASK_EVERY_MS)
  }
}

/** For pacing only, never to wait for a state. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
