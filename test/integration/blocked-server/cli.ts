/**
 * A server in a process of its own whose event loop can be blocked, for `blocked-loop.test.ts`:
 *
 * node cli.js ID DIR LISTEN BOOTSTRAP THREAD
 *
 * BOOTSTRAP is JSON. Each line of its input is a word, each line of its output JSON: `status`; `load MS`, commands for
 * so long, 16 at a time, and what became of them; `block MS`, in the midst of that load, told when it is over.
 */

import { createInterface } from 'node:readline'
import { msgpackCodec, Raft, RaftError } from 'balsa-raft'
import type { Server } from 'balsa-raft'
import { tcp } from 'balsa-raft/transport/tcp'

const [id = '', dir = '', listen = '', bootstrap = '[]', thread = 'main'] = process.argv.slice(2)
let count = 0
/** When so many of a load are applied the event loop is blocked. */
const BLOCKED_AT = 200
let blockMs = 0

const raft = await Raft.open<number, number>({
  ...{ id, dir, transport: tcp({ listen }), logger: false, codec: msgpackCodec<number>() },
  bootstrap: JSON.parse(bootstrap) as readonly Server[],
  stateMachine: { apply: (batch) => batch.map(() => (count += 1)) },
  thread: thread === 'worker' ? 'worker' : 'main',
})
const say = (said: object): void => void process.stdout.write(`${JSON.stringify(said)}\n`)

async function load(ms: number): Promise<void> {
  const endsAt = Date.now() + ms
  const outcomes: Record<string, number> = { applied: 0, 'not-applied': 0, unknown: 0 }
  const work = async (): Promise<void> => {
    while (Date.now() < endsAt) {
      const outcome = await raft.apply(1).then(
        () => 'applied',
        (error: unknown) => (error instanceof RaftError ? error.outcome : 'unknown'),
      )
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1
      if (outcome !== 'applied') return
      if (blockMs > 0 && count >= BLOCKED_AT) block()
    }
  }
  await Promise.all(Array.from({ length: 16 }, work))
  say({ outcomes })
}

/** The others of the load are under way meanwhile. */
function block(): void {
  const ms = blockMs
  blockMs = 0
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
  say({ blocked: ms })
}

say({ open: true })
createInterface({ input: process.stdin })
  .on('line', (line) => {
    const [word, ms = '0'] = line.split(' ')
    const { role, term } = raft.status
    if (word === 'status') say({ role, term })
    if (word === 'load') void load(Number(ms))
    if (word === 'block') blockMs = Number(ms)
  })
  // It goes with whoever has started it.
  .on('close', () => process.exit())
