/**
 * A process that lets waiting calls run into their deadlines together, and counts the bytes that this took from the
 * heap, for `rooms.test.ts`. What is done once for each pair of calls shows as bytes for each of many that grow with
 * their number.
 *
 * node --expose-gc --no-opt --min-semi-space-size=256 --max-semi-space-size=256 cli.js FEW MANY
 *
 * Prints one line of JSON: by kind of call, the bytes for each of FEW and for each of MANY.
 */

import { getHeapStatistics } from 'node:v8'
import { LoneServer } from '../../support/lone-server.js'

const [few = 0, many = 0] = process.argv.slice(2).map(Number)
const { gc } = globalThis
if (gc === undefined) throw new Error('needs --expose-gc')
const collect = gc

const server = await LoneServer.open()
const { raft, storage, turns } = server
await server.lead()
storage.disk('/s1').stall()
// Its ticket is under way: what comes now waits.
raft.apply({ add: 1 }).catch(() => {})
await turns()
const calls = {
  apply: () => raft.apply({ add: 1 }, { timeoutMs: 1 }),
  readIndex: () => raft.readIndex({ timeoutMs: 1 }),
  ready: () => raft.ready({ timeoutMs: 1 }),
}
const counted: Record<string, { readonly few: number; readonly many: number }> = {}
for (const [name, call] of Object.entries(calls)) {
  await bytesOfEach(call, few)
  counted[name] = { few: await bytesOfEach(call, few), many: await bytesOfEach(call, many) }
}
process.stdout.write(`${JSON.stringify(counted)}\n`)
storage.disk('/s1').resume()
await raft.close({ transferLeadership: false })

async function bytesOfEach(call: () => Promise<unknown>, count: number): Promise<number> {
  let ended = 0
  const end = (): void => void (ended += 1)
  for (let left = count; left > 0; left -= 1) call().then(end, end)
  await turns()
  collect()
  const before = getHeapStatistics().used_heap_size
  server.clock.advance(10)
  await turns()
  const grown = getHeapStatistics().used_heap_size - before
  if (ended !== count) throw new Error(`${ended} of ${count} calls have ended`)
  return grown / count
}
