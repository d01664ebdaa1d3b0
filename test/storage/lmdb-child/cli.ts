/**
 * A process that uses a native store, for tests that kill it, trace it, or meet its lock. It says what it did on
 * stdout, one JSON line at a time. With BALSA_TEST_STORE=file it is a file store, with `segments` one whose segments
 * are small.
 *
 * - node cli.js append DIR TICKETS [WINDOW]: appends one-entry blocks until TICKETS are durable (0: for ever)
 * - node cli.js compact DIR TICKETS [WINDOW]: the same, and each ticket compacts the log to its last KEPT entries
 * - node cli.js hold DIR: opens, and stays until it is killed
 * - node cli.js leave DIR: opens, submits, and returns without close and without waiting
 * - node cli.js replace DIR: two tickets append 60 blocks each and cut all of them off again; then it kills itself
 */

import { RaftError } from '#balsa/errors.js'
import { fileStore, nativeStore } from '#balsa/storage/index.js'
import type { LogStore } from '#balsa/storage/index.js'
import { logIndex } from '#balsa/types.js'

import { append, blockOf, hardState } from '#balsa/testing/conformance/blocks.js'
import { compactToLast, smallSegments } from '../small-segments.js'

const [mode = '', dir = '', tickets = '0', window = '8'] = process.argv.slice(2)

const store = makeStore(process.env['BALSA_TEST_STORE'])
let onWake: () => void = () => {}
const state = await store.open(() => onWake())
say({ opened: state.lastIndex, bootCounter: state.bootCounter, warning: state.warning })

if (mode === 'append' || mode === 'compact') await appendAll(store, state.lastIndex, Number(tickets), Number(window))
if (mode === 'replace') await replaceAll(store, state.lastIndex)
if (mode === 'leave') store.submit([append(blockOf(state.lastIndex + 1, 1, [8]))])

function makeStore(kind: string | undefined): LogStore {
  if (kind === 'segments') return smallSegments.create(dir)
  return (kind === 'file' ? fileStore() : nativeStore()).create(dir)
}

/** Each ticket: one entry, and a hard state whose commit index is that entry. */
async function appendAll(target: LogStore, lastIndex: number, count: number, inFlight: number): Promise<void> {
  let submitted = 0
  let wasStalled = false
  for (;;) {
    const { durable, fault, stalled } = target.poll()
    say({ durable: lastIndex + durable })
    if (stalled && !wasStalled) say({ stalled: true })
    wasStalled = stalled
    if (fault !== null) return sayPoisoned(target, fault, lastIndex + submitted)
    if (count > 0 && durable >= count) break
    const most = count > 0 ? Math.min(count, durable + inFlight) : durable + inFlight
    while (submitted < most) {
      submitted += 1
      const index = lastIndex + submitted
      const step = { type: 'hardState', hardState: hardState(1, 'a', index) } as const
      const compaction = mode === 'compact' ? [compactToLast(index)] : []
      target.submit([append(blockOf(index, 1, [index % 300])), ...compaction, step])
    }
    await new Promise<void>((resolve) => {
      onWake = resolve
    })
  }
  await target.close()
  say({ closed: true, stats: target.stats() })
}

/** Each ticket is one transaction, so that pages of what it cuts off are never written. */
async function replaceAll(target: LogStore, lastIndex: number): Promise<void> {
  const blocks = Array.from({ length: 60 }, (_, n) => append(blockOf(lastIndex + 1 + n, 1, [5000])))
  for (let round = 1; round <= 2; round += 1) {
    const ticket = target.submit([...blocks, { type: 'truncateSuffix', from: logIndex(lastIndex + 1) }])
    while (target.poll().durable < ticket) {
      await new Promise<void>((resolve) => {
        onWake = resolve
      })
    }
  }
  process.kill(process.pid, 'SIGKILL')
}

async function sayPoisoned(target: LogStore, fault: RaftError, submitted: number): Promise<void> {
  let refused: unknown = null
  try {
    target.submit([append(blockOf(submitted + 1, 1, [8]))])
  } catch (error) {
    refused = error instanceof RaftError ? error.code : String(error)
  }
  say({ poisoned: fault.code, outcome: fault.outcome, message: fault.message, refused })
  await target.close()
}

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`)
}
