/** What one kind of fault is to whoever causes them, and whom faults meet. */

import type { SeededRandom } from '../random.js'
import type { SimRaft } from '../doubles/sim-process.js'
import type { SimServer } from '../doubles/sim-server.js'
import type { World } from '../world.js'

/** Does it, arranges for its end, and tells what it did; null when it does not apply just now. */
export type Fault = (world: World, random: SeededRandom) => string | null

/** Whom it meets: often whoever leads. */
export function victim(world: World, random: SeededRandom): SimServer {
  const leader = leaderOf(world)
  return leader !== null && random.chance(0.5) ? leader : random.pick(world.servers)
}

/** The leader of the highest term among those that believe they lead. */
export function leaderOf(world: World): SimServer | null {
  let found: SimServer | null = null
  for (const server of world.servers) {
    if (server.core?.role === 'leader' && server.core.term > (found?.core?.term ?? 0)) found = server
  }
  return found
}

/** More of a fault that has begun: a world that is mended meanwhile is spared that. */
export function causeLater(world: World, ms: number, cause: () => void): void {
  world.queue.after(ms, () => {
    if (!world.isMended) cause()
  })
}

/** How long this one lasts. */
export function spell(world: World, random: SeededRandom): number {
  return random.exponential(world.plan.spellMs)
}

/** What that server is asked for, whatever it answers; null when nothing runs there that could be asked. */
export function askRaft(
  world: World,
  server: SimServer | null,
  what: string,
  ask: (raft: SimRaft) => Promise<unknown>,
): string | null {
  const process = server?.process ?? null
  const raft = process?.raft ?? null
  if (process === null || raft === null) return null
  process.arrive(() => {
    process.asked += 1
    const settled = (): void => {
      process.asked -= 1
      world.promised()
    }
    ask(raft).then(settled, settled)
    world.promised()
  })
  return what
}
