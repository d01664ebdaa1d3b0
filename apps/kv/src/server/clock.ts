/**
 * Time and turns, as the rooms of this server are given them. The only file of the server that touches the machine's;
 * tests bring their own.
 */

import type { Clock } from 'balsa-raft'

export interface KvClock extends Pick<Clock, 'now' | 'wallNow' | 'setTimer' | 'defer'> {
  /** Runs `callback` once every promise that settles now has been followed. */
  afterPromises(callback: () => void): void
}

export const machineClock: KvClock = {
  now: () => performance.now(),
  wallNow: () => Date.now(),
  setTimer(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
  // The check phase: the sockets of all clients have been read.
  defer: (callback) => void setImmediate(callback),
  afterPromises: (callback) => process.nextTick(callback),
}
