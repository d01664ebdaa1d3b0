/**
 * A server in a process of its own, for `snapshots-over-tcp.test.ts`, which kills it:
 *
 * node cli.js ID DIR LISTEN BOOTSTRAP BYTES_EACH STALLS
 *
 * BOOTSTRAP is JSON. With STALLS = true its first restore never ends. Prints a line of JSON for whatever happens.
 */

import { msgpackCodec, Raft } from 'balsa-raft'
import type { Server } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'
import { wideMachine } from '../../support/wide-machine.js'

const [id = '', dir = '', listen = '', bootstrap = '[]', bytesEach = '0', stalls = 'false'] = process.argv.slice(2)

const say = (line: object): void => void process.stdout.write(`${JSON.stringify(line)}\n`)

const restoring = async (): Promise<void> => {
  if (stalls !== 'true') return
  say({ what: 'stalls' })
  await new Promise(() => {})
}

const raft = await Raft.open<number, number, void, readonly number[]>({
  id,
  dir,
  bootstrap: JSON.parse(bootstrap) as readonly Server[],
  transport: tcp({ listen }),
  logger: false,
  codec: msgpackCodec<number>(),
  stateMachine: wideMachine(Number(bytesEach), (list) => say({ what: 'has', list }), restoring),
  snapshots: { entries: 1e6, trailingEntries: 1 },
})
raft.on('snapshot', ({ what }) => say({ what }))
say({ what: 'open' })
// It goes with whoever has started it.
process.stdin.resume().on('end', () => process.exit())
