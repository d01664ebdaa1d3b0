/**
 * How the recovery of a cluster from a lost quorum is written, in options and on the disk: `<index>-<32 hex digits>`,
 * the entry with the configuration that it put in force, and what it drew.
 */

import { isPosition } from '../types.js'

/** So many times one cluster is recovered: all of them fit into one fact. */
export const RECOVERIES_MAX = 64

const RECOVERY = /^([1-9]\d{0,15})-[0-9a-f]{32}$/

function isRecovery(text: unknown): text is string {
  return typeof text === 'string' && isPosition(Number(RECOVERY.exec(text)?.[1]))
}

export function areRecoveries(list: unknown): list is readonly string[] {
  return Array.isArray(list) && list.length <= RECOVERIES_MAX && list.every(isRecovery)
}
