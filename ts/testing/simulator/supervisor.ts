/** Starts again what has ended: processes that died, that have halted, that were closed, that could not open. */

import type { SimServer } from './doubles/sim-server.js'
import type { Actor, World } from './world.js'

const LOOKS_EVERY_MS = 50

export class Supervisor implements Actor {
  readonly #restartAt = new Map<SimServer, number>()

  start(world: World): void {
    world.queue.after(LOOKS_EVERY_MS, () => {
      for (const server of world.servers) this.#look(world, server)
      this.start(world)
    })
  }

  #look(world: World, server: SimServer): void {
    const isDone = server.process === null || server.halted || server.trouble !== null
    if (!isDone || world.isLeftBroken(server) || server.boot === 0) {
      this.#restartAt.delete(server)
      return
    }
    const at = this.#restartAt.get(server)
    if (at === undefined) {
      this.#restartAt.set(server, world.queue.now + world.random.exponential(world.plan.restartMs))
    } else if (at <= world.queue.now) {
      this.#restartAt.delete(server)
      server.crash('restarted', false)
      server.start()
    }
  }
}
