/**
 * How the heap that V8 was given is shared out: what does not fit it ends the process, so each part has a bound. The
 * rest is for what is under way, for garbage, and for a hash table that grows, which exists twice meanwhile.
 */

import { getHeapStatistics } from 'node:v8'

export interface MemoryLimits {
  /** `maxmemory-clients`: unless it is given, and the most that may be given. */
  readonly clientsDefault: number
  readonly clientsMost: number
}

/** `heapBytes`: what the heap may grow to; node's option --max-old-space-size sets it. */
export function memoryLimits(heapBytes: number = getHeapStatistics().heap_size_limit): MemoryLimits {
  return {
    clientsDefault: Math.min(Math.floor(heapBytes / 4), CLIENTS_DEFAULT_BYTES_MAX),
    clientsMost: Math.floor(heapBytes / 2),
  }
}

/** A client that sends 100,000 commands of 2 KB before it reads an answer fits in. */
const CLIENTS_DEFAULT_BYTES_MAX = 224 * 1024 * 1024
