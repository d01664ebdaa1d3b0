/** What CONFIG GET tells: the options of Redis that tools ask for, with what is true here. */

import { BULK_BYTES_MAX, COMMAND_BYTES_MAX, OUTPUT_BYTES_MAX, TCP_KEEPALIVE_MS } from '../limits.js'

export function configFacts(
  options: { readonly host: string; readonly port: number; readonly dir: string },
  {
    clientsMax,
    clientsMemoryMax,
    memoryMax,
    takesSnapshots,
    forwards,
    facts,
  }: {
    readonly clientsMax: number
    readonly clientsMemoryMax: number
    readonly memoryMax: number
    readonly takesSnapshots: boolean
    readonly forwards: boolean
    readonly facts: ReadonlyMap<string, string>
  },
): ReadonlyMap<string, string> {
  return new Map([
    ['bind', options.host],
    ['port', String(options.port)],
    ['dir', options.dir],
    ['maxclients', String(clientsMax)],
    ['databases', '1'],
    ['cluster-enabled', 'yes'],
    ['replica-read-only', forwards ? 'no' : 'yes'],
    // Every write is on disk before it is answered. A snapshot is due after an hour with a write, and also after so
    // many entries or bytes that Redis has no word for it (docs/snapshots.md).
    ['save', takesSnapshots ? '3600 1' : ''],
    ['appendonly', 'yes'],
    ['appendfsync', 'always'],
    ['maxmemory', String(memoryMax)],
    ['maxmemory-policy', 'noeviction'],
    ['maxmemory-clients', String(clientsMemoryMax)],
    ['proto-max-bulk-len', String(BULK_BYTES_MAX)],
    ['client-query-buffer-limit', String(COMMAND_BYTES_MAX)],
    ['client-output-buffer-limit', `normal ${OUTPUT_BYTES_MAX} 0 0`],
    ['timeout', '0'],
    ['tcp-keepalive', String(TCP_KEEPALIVE_MS / 1000)],
    ['protected-mode', 'no'],
    ...facts,
  ])
}
