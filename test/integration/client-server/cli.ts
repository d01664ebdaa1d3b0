/**
 * A server in a process of its own that takes clients, for `client-kills.test.ts`, which kills it:
 *
 * node cli.js ID DIR LISTEN BOOTSTRAP
 *
 * BOOTSTRAP is JSON. Its state machine keeps every command, in order. Prints a line when it is open.
 */

import { msgpackCodec, Raft } from 'balsa-raft'
import type { Server } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'

const [id = '', dir = '', listen = '', bootstrap = '[]'] = process.argv.slice(2)
const list: number[] = []

await Raft.open<number, number, null, readonly number[]>({
  ...{ id, dir, transport: tcp({ listen }), clients: true, logger: false, codec: msgpackCodec<number>() },
  bootstrap: JSON.parse(bootstrap) as readonly Server[],
  stateMachine: {
    apply: (batch) => batch.map(({ command }) => list.push(command)),
    query: () => list,
  },
})
process.stdout.write('open\n')
// It goes with whoever has started it.
process.stdin.resume().on('end', () => process.exit())
