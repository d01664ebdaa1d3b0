/** The clock of leases, from the addon: one that goes on while the machine is suspended, as Node's own does not. */

import { loadNative } from '../../native/load.js'

let read: (() => number) | null = null

/** Milliseconds since some moment before this process; Infinity, always, where there is no addon or no such clock. */
export function bootNow(): number {
  read ??= find()
  return read()
}

function find(): () => number {
  try {
    return loadNative().bootNow
  } catch {
    return () => Infinity
  }
}
