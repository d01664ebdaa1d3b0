/**
 * Networks that part, one way or both, in all the shapes in which consensus was seen to fail; that are slow, that
 * reset.
 */

import { WINDOW_BYTES_MIN } from '../../../core/leader/link-window.js'
import { REDIAL_MS } from '../../../transport/memory/memory-transport.js'
import type { Fault } from './fault.js'
import { causeLater, spell, victim } from './fault.js'
import type { FaultName } from './fault-names.js'
import type { SeededRandom } from '../random.js'
import type { SimServer } from '../doubles/sim-server.js'
import { isOnlyNarrow } from '../swarm.js'
import type { Path, World } from '../world.js'

type Cut = 'cut-one-way' | 'cut-bridge' | 'cut-majority' | 'cut-ring' | 'cut-server' | 'cut-some'
type NetworkFault = Cut | 'slow-path' | 'narrow-path' | 'redial' | 'reset' | 'heal'

/**
 * What a narrow path carries in an election timeout: some parts that are told of, or the smallest window of a leader in
 * a quarter of it, where that is to have a leader that stays.
 */
const NARROW_BYTES_MIN = 4 * 1024
const SERVING_BYTES_MIN = 4 * WINDOW_BYTES_MIN
const NARROW_BYTES_MAX = 64 * WINDOW_BYTES_MIN

export const networkFaults: Readonly<Record<NetworkFault & FaultName, Fault>> = {
  /** What one server says, or what it hears, is lost. */
  'cut-one-way': (world, random) => {
    const server = victim(world, random)
    const others = world.servers.filter((other) => other !== server)
    const hit = random.chance(0.5) ? others : others.slice(0, random.int(1, others.length + 1))
    const isDeaf = random.chance(0.5)
    return cut(
      world,
      random,
      hit.map((other) => (isDeaf ? [other, server] : [server, other])),
    )
  },
  /** Two sides that share one server. */
  'cut-bridge': (world, random) => {
    const [, ...others] = random.shuffled(world.servers)
    const half = others.slice(0, others.length >> 1)
    return cut(world, random, between(half, others.slice(others.length >> 1)))
  },
  'cut-majority': (world, random) => {
    const all = random.shuffled(world.servers)
    const minority = all.slice(0, random.int(1, Math.max(2, (all.length >> 1) + 1)))
    return cut(world, random, between(minority, all.slice(minority.length)))
  },
  /** Everyone reaches the two beside it, and nobody else. */
  'cut-ring': (world, random) => {
    const all = random.shuffled(world.servers)
    if (all.length < 4) return null
    const isFar = (a: number, b: number): boolean => Math.abs(a - b) !== 1 && Math.abs(a - b) !== all.length - 1
    const paths = all.flatMap((from, a) => all.filter((_, b) => a !== b && isFar(a, b)).map((to): Path => [from, to]))
    return cut(world, random, paths)
  },
  'cut-server': (world, random) => {
    const server = victim(world, random)
    return cut(world, random, between([server], others(world, server)))
  },
  'cut-some': (world, random) => {
    const all = world.servers.flatMap((from) => others(world, from).map((to): Path => [from, to]))
    return cut(
      world,
      random,
      all.filter(() => random.chance(0.25)),
    )
  },
  'slow-path': (world, random) => {
    const from = victim(world, random)
    const slowness = random.logBetween(5, 300)
    const hit = others(world, from).filter(() => random.chance(0.6))
    for (const to of hit) {
      world.network.slowPath(from.address, to.address, slowness)
      if (random.chance(0.5)) world.network.slowPath(to.address, from.address, slowness)
    }
    world.queue.after(spell(world, random), () => {
      for (const to of hit) mend(world, [from, to])
    })
    return `${from.id} ${slowness.toFixed(0)} times`
  },
  /** Paths with a bandwidth. */
  'narrow-path': (world, random) => {
    const from = victim(world, random)
    const bytesMin = isOnlyNarrow(world.plan) ? SERVING_BYTES_MIN : NARROW_BYTES_MIN
    const bytesPerMs = random.logBetween(bytesMin, NARROW_BYTES_MAX) / world.plan.electionTimeoutMs
    const hit = others(world, from).filter(() => random.chance(0.8))
    for (const to of hit) {
      world.network.narrowPath(from.address, to.address, bytesPerMs)
      if (random.chance(0.3)) world.network.narrowPath(to.address, from.address, bytesPerMs)
    }
    world.queue.after(3 * spell(world, random), () => {
      for (const to of hit) for (const path of between([from], [to])) mend(world, path)
    })
    return `${from.id} ${bytesPerMs.toFixed(1)} bytes per ms`
  },
  /**
   * One connection after the other is lost to who has dialled it, and not to the other end: there what was last said on
   * it is still to come when the next one is up.
   */
  redial: (world, random) => {
    const [to] = random.shuffled(world.servers)
    const from = victim(world, random)
    if (to === undefined || to === from) return null
    const { network, plan } = world
    const late = (REDIAL_MS + random.exponential(4 * REDIAL_MS)) / plan.network.delayMs
    const lose = (times: number): void => {
      network.slowPath(from.address, to.address, late)
      causeLater(world, random.exponential(plan.heartbeatMs), () => {
        network.slowPath(from.address, to.address, 1)
        network.loseAtDialler(from.address, to.address)
        if (times > 1)
          causeLater(world, REDIAL_MS + random.exponential(8 * plan.network.delayMs), () => lose(times - 1))
      })
    }
    const times = random.int(1, 5)
    lose(times)
    return `${from.id}>${to.id} ${times} times`
  },
  reset: (world, random) => {
    const [a, b] = random.shuffled(world.servers)
    if (a === undefined || b === undefined) return null
    world.network.cut(a.address, b.address)
    return `${a.id} ${b.id}`
  },
  heal: (world) => {
    for (const from of world.servers) for (const to of others(world, from)) mend(world, [from, to])
    return 'all'
  },
}

function cut(world: World, random: SeededRandom, paths: readonly Path[]): string | null {
  return paths.length === 0 ? null : cutFor(world, paths, spell(world, random))
}

/** For a while; two cuts that overlap both end with the first, as repairs do. */
export function cutFor(world: World, paths: readonly Path[], ms: number): string {
  for (const [from, to] of paths) world.network.cutPath(from.address, to.address)
  world.queue.after(ms, () => {
    for (const path of paths) mend(world, path)
  })
  return paths.map(([from, to]) => `${from.id}>${to.id}`).join(' ')
}

/** What the second phase has given up stays broken. */
export function mend(world: World, path: Path): void {
  const [from, to] = path
  if (world.isLeftBroken(from) || world.isLeftBroken(to) || world.isLeftCut(path)) return
  world.network.mendPath(from.address, to.address)
}

export function between(some: readonly SimServer[], rest: readonly SimServer[]): readonly Path[] {
  return some.flatMap((a) =>
    rest.flatMap((b): readonly Path[] => [
      [a, b],
      [b, a],
    ]),
  )
}

export function others(world: World, server: SimServer): readonly SimServer[] {
  return world.servers.filter((other) => other !== server)
}
