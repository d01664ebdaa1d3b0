/**
 * What a conformance suite is: a list of cases that any test runner can register, or a plain loop can run. A case fails
 * by rejecting, with an AssertionError or with what the implementation threw, and never hangs: what does not settle is
 * reported after `deadlineMs`.
 */

import { systemClock } from '../../clock.js'

export interface ConformanceCase {
  /** A sentence that is true of every correct implementation. */
  readonly name: string
  /** Why this implementation cannot be asked, in one sentence; null when it can. */
  readonly skipped: string | null
  /** Resolves when the sentence holds of what was made for this run alone. A skipped case rejects with its reason. */
  readonly run: () => Promise<void>
}

/** For one case, and again for releasing what it used: far above what an implementation that works needs. */
export const CASE_DEADLINE_MS = 60_000

const POLL_MS = 2

/** What one run of a case uses: made for it, asked, released; each step within the deadline. */
interface Steps<Used> {
  readonly prepare: () => Used | Promise<Used>
  readonly ask: (used: Used) => Promise<void>
  readonly release: (used: Used) => Promise<void>
}

/** `missing` is why the case is skipped, or null. */
export function caseOf<Used>(
  name: string,
  missing: string | null,
  deadlineMs: number,
  steps: Steps<Used>,
): ConformanceCase {
  if (missing === null) return { name, skipped: null, run: () => runSteps(name, deadlineMs, steps) }
  return { name, skipped: missing, run: () => Promise.reject(new Error(`skipped: ${name}: ${missing}`)) }
}

async function runSteps<Used>(name: string, deadlineMs: number, { prepare, ask, release }: Steps<Used>): Promise<void> {
  const within = <Value>(step: string, begin: () => Value | Promise<Value>): Promise<Value> =>
    settled(`${step} "${name}"`, deadlineMs, (async () => begin())())
  const used = await within('preparing', prepare)
  try {
    await within('the case', () => ask(used))
  } catch (error) {
    // The first failure is the one to look at: what is broken may also be hard to release.
    await within('releasing', () => release(used)).catch(() => {})
    throw error
  }
  await within('releasing', () => release(used))
}

/** The value, or a rejection that says what has not settled in that time. */
export async function settled<Value>(what: string, deadlineMs: number, promise: Promise<Value>): Promise<Value> {
  let cancel = (): void => {}
  const late = new Promise<never>((_, reject) => {
    cancel = systemClock().setTimer(deadlineMs, () => reject(new Error(`not settled after ${deadlineMs} ms: ${what}`)))
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    cancel()
  }
}

/** Waits for a fact that nothing announces. Rejects with `what` when it still does not hold at the deadline. */
export async function until(what: string, deadlineMs: number, holds: () => boolean): Promise<void> {
  const clock = systemClock()
  const deadline = clock.now() + deadlineMs
  while (!holds()) {
    if (clock.now() > deadline) throw new Error(`still not so after ${deadlineMs} ms: ${what}`)
    await new Promise<void>((resolve) => {
      clock.setTimer(POLL_MS, resolve)
    })
  }
}
