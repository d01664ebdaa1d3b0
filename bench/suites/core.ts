/**
 * Micro benchmarks of what happens once per batch within a process: the core, the block format, the frames; and per
 * command. Timed by tinybench.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { Bench } from 'tinybench'
import { BlockWriter, RecordCursor, sealBlock, verifyBlock } from '#balsa/format/block.js'
import { logIndex, termOf } from '#balsa/types.js'
import type { Block } from '#balsa/types.js'
import type { AppendEntries, AppendEntriesResult } from 'balsa-raft/core'
import { nativeStore } from 'balsa-raft/storage'
import { commonFeatures, decodeFrame, encodeHead, encodeMessage, FEATURES, frameMemory } from 'balsa-raft/transport'
import { CoreLeader } from '../cluster/core-leader.js'
import type { Settings } from '../settings.js'
import type { Case, OpenSuite, Sample, Suite } from '../suite.js'
import { packBlocks } from '../stores/native.js'
import { commandCases, COMMANDS } from './core-commands.js'

/** Entries of a batch; with the usual 256 bytes one block holds them. */
const ENTRIES = 64
/** What takes less than a microsecond is repeated within one timed call, so that the clock does not drown it. */
const REPEATS = 100
const WARM_UP_MS = 200

export const core: Suite = {
  name: 'core',
  purpose: 'micro benchmarks: core steps, blocks, frames, the codecs and the RESP of one command',
  minutes: 2,
  rounds: 5,
  seconds: 1,
  metrics: [
    { key: 'microseconds', head: 'us per operation', digits: 3 },
    { key: 'perSecond', head: 'operations/s', digits: 0 },
    { key: 'stepsPerSecond', head: 'core steps/s', digits: 0 },
  ],
  judged: { key: 'microseconds', better: 'less' },
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const folder = mkdtempSync(join(settings.dir, 'core-'))
  const store = nativeStore().create(folder)
  await store.open(() => {})
  const payload = new Uint8Array(settings.bytes[0] ?? 256).fill(0x62)
  const [block] = packBlocks(new BlockWriter(), 1, ENTRIES, payload, sealBlock)
  if (block === undefined) throw new Error('no block was packed')
  const nativeSeal = (arena: Uint8Array, offset: number): number => store.seal(arena, offset)
  const milliseconds = settings.seconds * 1000
  const entries = block.last - block.first + 1
  const one = (contender: string, operation: string, run: () => void, repeats = 1): Case => ({
    contender,
    at: { operation },
    measure: () => timed(run, repeats, milliseconds),
  })
  const seal = `pack and seal ${ENTRIES} entries`
  const verify = `verify a block of ${entries}`
  const cases = [
    leaderCase(block, milliseconds),
    one('native', seal, packing(payload, nativeSeal)),
    one('TypeScript', seal, packing(payload, sealBlock)),
    one('native', verify, () => void store.verify(block.data)),
    one('TypeScript', verify, () => void verifyBlock(block.data)),
    one('TypeScript', `walk a block of ${entries}`, walking(block)),
    ...frameCases(block, one),
    ...commandCases(payload.length).map(({ contender, operation, run }) => one(contender, operation, run, COMMANDS)),
  ]
  return {
    cases,
    skipped: [],
    notes: [
      `entries of ${payload.length} bytes; a core step is one input; one batch in the core is proposal, write, two peers, state machine`,
      `of one command each: parse (${COMMANDS} SETs in one chunk), reply, encode, decode, apply (the applier and a codec, ${COMMANDS} entries at once, to a state machine that does nothing)`,
    ],
    async close() {
      await store.close()
      rmSync(folder, { recursive: true })
    },
  }
}

function leaderCase(block: Block, milliseconds: number): Case {
  const entries = block.last - block.first + 1
  return {
    contender: 'TypeScript',
    at: { operation: `one batch of ${entries} through a leader's core` },
    async measure() {
      const leader = new CoreLeader()
      const before = leader.steps
      leader.batch(entries, block.data)
      const stepsPerBatch = leader.steps - before
      const sample = await timed(() => leader.batch(entries, block.data), 1, milliseconds)
      return { ...sample, stepsPerSecond: (sample['perSecond'] ?? 0) * stepsPerBatch }
    },
  }
}

function packing(payload: Uint8Array, seal: (arena: Uint8Array, offset: number) => number): () => void {
  const writer = new BlockWriter()
  return () => void packBlocks(writer, 1, ENTRIES, payload, seal)
}

function walking(block: Block): () => void {
  const cursor = new RecordCursor()
  return () => {
    cursor.reset(block)
    while (cursor.next());
  }
}

function frameCases(
  block: Block,
  one: (contender: string, operation: string, run: () => void, repeats: number) => Case,
): readonly Case[] {
  const [none, term] = [logIndex(0), termOf(1)]
  const append: AppendEntries = {
    ...{ type: 'AppendEntries', term, prevIndex: none, prevTerm: termOf(0) },
    ...{ blocks: [block], commitIndex: none, round: 1 },
  }
  const result: AppendEntriesResult = {
    ...{ type: 'AppendEntriesResult', term, status: 'matched', matchIndex: block.last },
    ...{ hintIndex: none, hintTerm: termOf(0), round: 1, lastIndex: block.last },
  }
  const features = commonFeatures(FEATURES)
  const head = frameMemory(new Uint8Array(4096))
  const appendFrame = frameMemory(encodeMessage(append, features))
  const resultFrame = frameMemory(encodeMessage(result, features))
  for (const frame of [appendFrame, resultFrame]) {
    const decoded = decodeFrame(frame)
    if (decoded.type === 'Malformed') throw new Error(`a frame does not decode: ${decoded.what}`)
  }
  const repeated = (run: () => void) => (): void => {
    for (let left = REPEATS; left > 0; left -= 1) run()
  }
  const frame = (operation: string, run: () => void): Case => one('TypeScript', operation, repeated(run), REPEATS)
  return [
    frame('encode AppendEntries', () => void encodeHead(append, features, head, 0)),
    frame('decode AppendEntries', () => void decodeFrame(appendFrame)),
    frame('encode AppendEntriesResult', () => void encodeHead(result, features, head, 0)),
    frame('decode AppendEntriesResult', () => void decodeFrame(resultFrame)),
  ]
}

async function timed(run: () => void, repeats: number, milliseconds: number): Promise<Sample> {
  const bench = new Bench({ time: milliseconds, warmupTime: WARM_UP_MS, throws: true })
  bench.add('operation', run)
  const [task] = await bench.run()
  const result = task?.result
  if (result?.state !== 'completed') throw new Error(`a micro benchmark ended as ${result?.state}`)
  return { microseconds: (result.latency.p50 * 1000) / repeats, perSecond: (repeats * 1000) / result.latency.mean }
}
