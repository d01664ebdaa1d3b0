/**
 * How the heap that V8 was given is shared out: what does not fit it ends the process, so each part has a bound. The
 * rest is for what is under way and for garbage.
 */

import { getHeapStatistics } from 'node:v8'

export interface MemoryLimits {
  /** `maxmemory`: unless it is given, and the most that may be given. */
  readonly dataDefault: number
  readonly dataMost: number
  /** `maxmemory-clients`: unless it is given, and the most that may be given. */
  readonly clientsDefault: number
  readonly clientsMost: number
}

/** `heapBytes`: what V8 says the heap may grow to; node's option --max-old-space-size sets it. */
export function memoryLimits(heapBytes: number = getHeapStatistics().heap_size_limit): MemoryLimits {
  const free = Math.max(0, heapBytes - YOUNG_BYTES - PROGRAM_BYTES)
  return {
    dataDefault: Math.floor(free / 2),
    dataMost: Math.floor((free / 4) * 3),
    clientsDefault: Math.min(Math.floor(free / 4), CLIENTS_DEFAULT_BYTES_MAX),
    clientsMost: Math.floor(free / 2),
  }
}

/** V8 counts three halves of its young generation as heap, but nothing that lives long can stay there. */
const YOUNG_BYTES = 48 * 1024 * 1024

/** What a server takes that holds nothing. */
const PROGRAM_BYTES = 24 * 1024 * 1024

/** A client that sends 100,000 commands of 2 KB before it reads an answer fits in. */
const CLIENTS_DEFAULT_BYTES_MAX = 224 * 1024 * 1024
