/** One server of the apply bench, as a process of its own: a state machine that only counts, and a load when asked for. */

import { Raft } from 'balsa-raft'
import type { Codec, StateMachine } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import type { FromServer, LoadResult, ToServer, Usage } from './messages.js'

const [id = '', dir = '', servers = ''] = process.argv.slice(2)
const bootstrap = servers.split(',').map((server) => {
  const [serverId = '', address = ''] = server.split('=')
  return { id: serverId, address }
})

let count = 0
const counter: StateMachine<Uint8Array, number> = {
  apply: (batch) => batch.map(() => (count += 1)),
}
const bytes: Codec<Uint8Array> = { encode: (command) => command, decode: (command) => command }

const listen = bootstrap.find((server) => server.id === id)?.address ?? ''
const raft = await Raft.open({ id, dir, bootstrap, transport: tcp({ listen }), stateMachine: counter, codec: bytes })
await raft.ready()
say({ type: 'ready' })

process.on('message', (message: ToServer) => {
  switch (message.type) {
    case 'load':
      void load(message.inFlight, message.payloadBytes, message.milliseconds).then(say)
      return
    case 'usage':
      say(usage())
      return
    case 'close':
      void raft.close().then(() => process.exit(0))
      return
  }
})

async function load(inFlight: number, payloadBytes: number, milliseconds: number): Promise<LoadResult> {
  const command = new Uint8Array(payloadBytes).fill(0x62)
  const latencies: number[] = []
  const start = performance.now()
  const end = start + milliseconds
  const caller = async (): Promise<void> => {
    for (let begin = performance.now(); begin < end; begin = performance.now()) {
      await raft.apply(command)
      latencies.push(performance.now() - begin)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, caller))
  return { type: 'loaded', latencies, milliseconds: performance.now() - start }
}

function usage(): Usage {
  const { role, appliedIndex, store } = raft.status
  const { user, system } = process.cpuUsage()
  return {
    type: 'usage',
    role,
    appliedIndex,
    store,
    cpuMicroseconds: user + system,
    rssBytes: process.memoryUsage.rss(),
  }
}

function say(message: FromServer): void {
  process.send?.(message)
}
