/** TCP transports on a scripted network, under a clock that stands still; in the end nothing of them may be left. */

import * as assert from 'uvu/assert'
import { Site } from '#balsa/testing/conformance/site.js'
import { type TcpOptions, tcpSettings } from '#balsa/transport/tcp/options.js'
import { TcpTransport } from '#balsa/transport/tcp/tcp-transport.js'
import type { ServerId } from '#balsa/types.js'

import { ManualClock } from './manual-clock.js'
import { ScriptedNetwork, type Wire } from './scripted-network.js'

export interface Member {
  readonly site: Site
  readonly transport: TcpTransport
  readonly address: string
}

export class ScriptedWorld {
  readonly clock = new ManualClock()
  readonly network: ScriptedNetwork
  readonly members: Member[] = []

  constructor(isInPlace: boolean) {
    this.network = new ScriptedNetwork(isInPlace)
  }

  async start(id: ServerId, options: Partial<TcpOptions> = {}): Promise<Member> {
    const settings = tcpSettings({ listen: '127.0.0.1:0', backoffMinMs: 10, random: () => 0, ...options })
    const transport = new TcpTransport({ ...settings, sockets: this.network })
    const site = new Site(id, transport)
    const member = { site, transport, address: await site.start(this.clock) }
    this.members.push(member)
    return member
  }

  /** `a` dials `b`. */
  async pair(
    options: Partial<TcpOptions> = {},
  ): Promise<{ readonly a: Member; readonly b: Member; readonly wire: Wire }> {
    const a = await this.start('a', options)
    const b = await this.start('b', options)
    a.transport.setPeers([{ id: 'b', address: b.address }])
    this.network.step()
    const [wire] = this.network.wires
    if (wire === undefined) throw new Error('nobody was dialled')
    return { a, b, wire }
  }

  /** What the network has put in place of the accepted socket is in there as well. */
  wireOf({ dialler }: Wire): Wire {
    const wire = this.network.wires.find((one) => one.dialler === dialler)
    if (wire === undefined) throw new Error('that connection is gone')
    return wire
  }

  /** Nothing is left, and nothing was changed under a socket that still held it. */
  async close(): Promise<void> {
    this.network.chunk = () => Infinity
    const closed = Promise.all(this.members.map(({ transport }) => transport.close()))
    // Last words that nobody reads are given up after a second.
    for (const passed of [0, 1000]) {
      this.clock.advance(passed)
      await this.network.settle()
    }
    const unending = this.network.settle().then(() => 'close does not end')
    assert.not(await Promise.race([closed, unending]).then((end) => end === 'close does not end'))
    assert.equal(this.clock.delays(), [], 'timers are left')
    assert.equal(this.network.wires, [], 'sockets are left')
    assert.equal(this.network.flaws, [])
    for (const { site, transport } of this.members) {
      assertSessionsAlternate(site)
      const kept = Object.entries(transport.rooms).filter(([, count]) => count !== 0)
      assert.equal(kept, [], `the rooms of ${site.id} after its close`)
    }
  }
}

export async function withWorld(isInPlace: boolean, run: (world: ScriptedWorld) => Promise<void>): Promise<void> {
  const world = new ScriptedWorld(isInPlace)
  await run(world)
  await world.close()
}

/** Each session comes up once and goes down once, before the next one comes. */
function assertSessionsAlternate(site: Site): void {
  const expected = site.sessions.map((_, at) => (at % 2 === 0 ? 'up' : 'down'))
  assert.equal(
    site.sessions.map(({ type }) => type),
    expected,
    `the sessions of ${site.id}`,
  )
}
