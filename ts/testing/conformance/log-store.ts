/**
 * What every LogStore does (the contract of `balsa-raft/storage`), as cases that run over any of them. What a store
 * cannot offer is null, and the cases that need it say so.
 */

import { deepStrictEqual, match, notStrictEqual, ok, strictEqual, throws } from 'node:assert'

import { entryBlock, PAYLOAD_BYTES_MAX, verifyBlock } from '../../format/block.js'
import { READ_BYTES_MAX } from '../../storage/log-store.js'
import { logIndex, termOf } from '../../types.js'
import type { Block, StoreOperation } from '../../types.js'
import { append, blockOf, bytes, entriesOf, hardState, hexOf, longBlockOf, T0 } from './blocks.js'
import { deadlineOf } from '../options.js'
import { CASE_DEADLINE_MS, caseOf } from './case.js'
import type { ConformanceCase } from './case.js'
import { compactions } from './log-store-compaction.js'
import {
  Bench,
  checkLog,
  checkTerms,
  configurationBlock,
  hasCode,
  joint,
  nextTurn,
  plain,
  rejects,
  runs,
  withoutIdentity,
} from './store-bench.js'
import type { Behaviour, LogStoreConformanceOptions } from './store-bench.js'
import { checkOptionNames } from '../../option-checks.js'

const OPTION_NAMES = Object.keys({
  create: true,
  makeDir: true,
  removeDir: true,
  failNextWrite: true,
  crash: true,
  compacts: true,
  deadlineMs: true,
} satisfies Record<keyof LogStoreConformanceOptions, true>)

/** The cases for one store; each opens directories of its own. */
export function logStoreConformance(options: LogStoreConformanceOptions): readonly ConformanceCase[] {
  checkOptionNames('logStoreConformance', options, OPTION_NAMES)
  const deadlineMs = deadlineOf(options.deadlineMs, CASE_DEADLINE_MS)
  const asked = options.compacts === false ? behaviours : [...behaviours, ...compactions]
  return asked.map(({ name, needs, run }) => {
    const missing = needs === undefined || options[needs] !== null ? null : `the store has no hook ${needs}`
    return caseOf(name, missing, deadlineMs, {
      prepare: async () => new Bench(options, await options.makeDir(), deadlineMs / 2),
      ask: run,
      release: (bench) => bench.dispose(),
    })
  })
}

/** Entries of a block of which ever more are read. */
const PARTS = 32

const behaviours: readonly Behaviour[] = [
  {
    name: 'a new store is empty, names its incarnation and counts its first boot',
    async run(bench) {
      const { state } = await bench.open()
      match(state.incarnation, /^[0-9a-f]{32}$/)
      deepStrictEqual(withoutIdentity(state), {
        firstIndex: 1,
        prevTerm: 0,
        snapshot: null,
        lastIndex: 0,
        hardState: hardState(0, null, 0),
        termRuns: [],
        configurations: [],
        bootCounter: 1,
        facts: [],
      })
    },
  },
  {
    name: 'tickets count from 1 and become durable in order, each entry as it was submitted',
    async run(bench) {
      const { store, until } = await bench.open()
      strictEqual(store.poll().durable, 0)
      const blocks: Block[] = []
      let seen = 0
      for (let n = 1; n <= 40; n += 1) {
        const block = blockOf(1 + 3 * (n - 1), 1, [n, 100, 7])
        blocks.push(block)
        strictEqual(store.submit([{ type: 'append', block }]), n)
        const { durable } = store.poll()
        ok(durable >= seen && durable <= n, `durable ${durable} after ${seen}, submitted ${n}`)
        seen = durable
        if (n % 8 === 0) await nextTurn()
      }
      await until(40)
      deepStrictEqual(entriesOf(await store.read(logIndex(1), logIndex(121), 1 << 20)), entriesOf(blocks))
    },
  },
  {
    name: 'one ticket takes effect whole: truncation, entries, hard state and facts together',
    async run(bench) {
      const first = await bench.open()
      const old = blockOf(1, 1, [10, 10, 10, 10])
      await first.put([append(old), { type: 'hardState', hardState: hardState(1, 'a', 0) }])
      const next = blockOf(3, 2, [20, 20, 20])
      await first.put([
        { type: 'truncateSuffix', from: logIndex(3) },
        append(next),
        { type: 'hardState', hardState: hardState(2, 'b', 2) },
        { type: 'put', key: 'k', value: bytes(3) },
      ])
      const { state, store } = await bench.reopen()
      strictEqual(state.lastIndex, 5)
      deepStrictEqual(state.hardState, hardState(2, 'b', 2))
      deepStrictEqual(state.termRuns, runs([1, 1], [3, 2]))
      deepStrictEqual([...state.facts.keys()], ['k'])
      const kept = entriesOf([old]).slice(0, 2)
      deepStrictEqual(entriesOf(await store.read(logIndex(1), logIndex(6), 1 << 20)), [...kept, ...entriesOf([next])])
    },
  },
  {
    name: 'truncation inside a block keeps the entries before it, in intact blocks',
    async run(bench) {
      const first = await bench.open()
      const block = blockOf(1, 1, [1, 2, 3, 4, 5, 6, 7, 8, 9])
      await first.put([append(block)])
      await first.put([{ type: 'truncateSuffix', from: logIndex(5) }])
      await checkLog(first.store, entriesOf([block]).slice(0, 4))
      const second = await bench.reopen()
      strictEqual(second.state.lastIndex, 4)
      await checkLog(second.store, entriesOf([block]).slice(0, 4))
    },
  },
  {
    name: 'truncation at the edge of a block, over several blocks, and of everything',
    async run(bench) {
      const first = await bench.open()
      const blocks = [blockOf(1, 1, [1, 1]), blockOf(3, 1, [2, 2]), blockOf(5, 2, [3, 3])]
      await first.put(blocks.map(append))
      await first.put([{ type: 'truncateSuffix', from: logIndex(3) }])
      await checkLog(first.store, entriesOf(blocks).slice(0, 2))
      await first.put([{ type: 'truncateSuffix', from: logIndex(1) }])
      strictEqual(first.store.stats().lastIndex, 0)
      const second = await bench.reopen()
      strictEqual(second.state.firstIndex, 1)
      strictEqual(second.state.lastIndex, 0)
      deepStrictEqual(second.state.termRuns, [])
      const again = blockOf(1, 3, [5, 5])
      await second.put([append(again)])
      await checkLog(second.store, entriesOf([again]))
    },
  },
  {
    name: 'a tail that was replaced twice in flight ends as the last ticket says',
    async run(bench) {
      const { store, until } = await bench.open()
      store.submit([append(blockOf(1, 1, [1, 1, 1, 1]))])
      store.submit([{ type: 'truncateSuffix', from: logIndex(2) }, append(blockOf(2, 2, [2, 2]))])
      const last = blockOf(3, 3, [3, 3, 3])
      await until(store.submit([{ type: 'truncateSuffix', from: logIndex(3) }, append(last)]))
      await checkTerms(store, [1, 2, 3, 3, 3])
      const { state } = await bench.reopen()
      deepStrictEqual(state.termRuns, runs([1, 1], [2, 2], [3, 3]))
    },
  },
  {
    name: 'term runs cover the log, one for each stretch of a term, also after a truncation',
    async run(bench) {
      const first = await bench.open()
      await first.put([
        append(blockOf(1, 1, [1])),
        append(blockOf(2, 1, [1, 1])),
        append(blockOf(4, 4, [1, 1])),
        append(blockOf(6, 9, [1])),
        append(blockOf(7, 9, [1])),
      ])
      const second = await bench.reopen()
      deepStrictEqual(second.state.termRuns, runs([1, 1], [4, 4], [6, 9]))
      await second.put([{ type: 'truncateSuffix', from: logIndex(5) }])
      const third = await bench.reopen()
      deepStrictEqual(third.state.termRuns, runs([1, 1], [4, 4]))
      await third.put([{ type: 'truncateSuffix', from: logIndex(4) }, append(blockOf(4, 12, [1]))])
      const fourth = await bench.reopen()
      deepStrictEqual(fourth.state.termRuns, runs([1, 1], [4, 12]))
    },
  },
  {
    name: 'the last hard state wins; a vote of any length and script is kept, and no vote is null',
    async run(bench) {
      const first = await bench.open()
      const long = 'sérver-☃-'.padEnd(240, 'x')
      await first.put([{ type: 'hardState', hardState: hardState(3, long, 0) }])
      deepStrictEqual((await bench.reopen()).state.hardState, hardState(3, long, 0))
      await bench.current().put([
        { type: 'hardState', hardState: hardState(4, 'b', 0) },
        { type: 'hardState', hardState: hardState(Number.MAX_SAFE_INTEGER, null, 0) },
      ])
      deepStrictEqual((await bench.reopen()).state.hardState, hardState(Number.MAX_SAFE_INTEGER, null, 0))
    },
  },
  {
    name: 'facts are put, replaced and deleted, up to the longest key and value',
    async run(bench) {
      const first = await bench.open()
      const key = 'é'.repeat(127)
      await first.put([
        { type: 'put', key, value: bytes(4096) },
        { type: 'put', key: 'replaced', value: bytes(9) },
        { type: 'put', key: 'deleted', value: bytes(9) },
        { type: 'put', key: 'empty', value: bytes(0) },
      ])
      await first.put([
        { type: 'put', key: 'replaced', value: bytes(5) },
        { type: 'delete', key: 'deleted' },
        { type: 'delete', key: 'never there' },
      ])
      const { state } = await bench.reopen()
      const expected = [
        ['empty', hexOf(bytes(0))],
        ['replaced', hexOf(bytes(5))],
        [key, hexOf(bytes(4096))],
      ]
      deepStrictEqual(withoutIdentity(state).facts, expected)
    },
  },
  {
    name: 'configuration entries are listed in order, and leave the list with the truncation that removes them',
    async run(bench) {
      const first = await bench.open()
      await first.put([append(configurationBlock(1, 1, plain)), append(blockOf(2, 1, [1, 1]))])
      await first.put([append(configurationBlock(4, 1, joint)), append(configurationBlock(5, 2, plain))])
      const second = await bench.reopen()
      deepStrictEqual(second.state.configurations, [
        { index: 1, configuration: plain },
        { index: 4, configuration: joint },
        { index: 5, configuration: plain },
      ])
      await second.put([{ type: 'truncateSuffix', from: logIndex(4) }, append(blockOf(4, 3, [1]))])
      const third = await bench.reopen()
      deepStrictEqual(third.state.configurations, [{ index: 1, configuration: plain }])
      const [block] = await third.store.read(logIndex(1), logIndex(2), 1 << 20)
      deepStrictEqual(block?.configuration, plain)
    },
  },
  {
    name: 'reopening changes nothing but the boot counter, which grows by one each time',
    async run(bench) {
      const first = await bench.open()
      await first.put([
        append(configurationBlock(1, 1, plain)),
        append(blockOf(2, 2, [10, 20])),
        { type: 'hardState', hardState: hardState(2, 'a', 1) },
        { type: 'put', key: 'peer/b', value: bytes(16) },
      ])
      const second = (await bench.reopen()).state
      const third = (await bench.reopen()).state
      strictEqual(second.bootCounter, first.state.bootCounter + 1)
      strictEqual(third.bootCounter, second.bootCounter + 1)
      strictEqual(third.incarnation, first.state.incarnation)
      deepStrictEqual({ ...withoutIdentity(third), bootCounter: 0 }, { ...withoutIdentity(second), bootCounter: 0 })
    },
  },
  {
    name: 'two stores have two incarnations',
    async run(bench) {
      const { state } = await bench.open()
      const other = await bench.openOther()
      notStrictEqual(other.state.incarnation, state.incarnation)
    },
  },
  {
    name: 'a read gives exactly the entries asked for, for every range, in intact blocks',
    async run(bench) {
      const { store, put } = await bench.open()
      const blocks = [blockOf(1, 1, [0, 9]), blockOf(3, 1, [3]), blockOf(4, 2, [30, 1, 64, 8]), blockOf(8, 2, [5, 5])]
      await put(blocks.map(append))
      const entries = entriesOf(blocks)
      for (let lo = 1; lo <= 9; lo += 1) {
        for (let hi = lo + 1; hi <= 10; hi += 1) {
          const read = await store.read(logIndex(lo), logIndex(hi), 1 << 20)
          ok(read.every((block) => verifyBlock(block.data)))
          deepStrictEqual(entriesOf(read), entries.slice(lo - 1, hi - 1), `read ${lo} .. ${hi - 1}`)
        }
      }
    },
  },
  {
    name: 'a read stays below maxBytes, makes progress with at least one entry, and goes on where it ended',
    async run(bench) {
      const { store, put } = await bench.open()
      const blocks = [blockOf(1, 1, [400, 0, 90, 300]), blockOf(5, 1, [20]), blockOf(6, 2, [700, 700])]
      await put(blocks.map(append))
      for (const maxBytes of [1, 64, 100, 200, 500, 900, 2000, 5000]) {
        const found = []
        for (let lo = 1; lo <= 7; lo = found.length + 1) {
          const read = await store.read(logIndex(lo), logIndex(8), maxBytes)
          const entries = entriesOf(read)
          const total = read.reduce((sum, block) => sum + block.data.byteLength, 0)
          ok(entries.length >= 1, `nothing read at ${lo} with ${maxBytes}`)
          ok(total <= maxBytes || entries.length === 1, `${total} bytes of ${maxBytes}`)
          found.push(...entries)
        }
        deepStrictEqual(found, entriesOf(blocks), `read in steps of ${maxBytes}`)
      }
    },
  },
  {
    name: 'a read gives no more than 1 MiB, however much is asked for: a longer block is clipped on the right, and the next read goes on there',
    async run(bench) {
      const { store, put } = await bench.open()
      const blocks = [longBlockOf(1, 1, Array<number>(24).fill(100_000)), blockOf(25, 1, [10, 10])]
      await put(blocks.map(append))
      const entries = entriesOf(blocks)
      for (const maxBytes of [250_000, READ_BYTES_MAX, 1 << 24]) {
        const found: object[] = []
        while (found.length < entries.length) {
          const read = await store.read(logIndex(found.length + 1), logIndex(27), maxBytes)
          const total = read.reduce((sum, block) => sum + block.data.byteLength, 0)
          ok(total > 0 && total <= Math.min(maxBytes, READ_BYTES_MAX), `${total} bytes of ${maxBytes}`)
          ok(read.every((block) => verifyBlock(block.data)))
          found.push(...entriesOf(read))
        }
        deepStrictEqual(found, entries, `read in steps of ${maxBytes}`)
      }
      const inside = await store.read(logIndex(3), logIndex(7), 1 << 24)
      deepStrictEqual(entriesOf(inside), entries.slice(2, 6))
    },
  },
  {
    name: 'a block that was read stays as it is, whatever is read, sealed or written afterwards, and after the close',
    async run(bench) {
      const { store, put } = await bench.open()
      const blocks = [
        blockOf(1, 1, [400, 0, 90]),
        blockOf(4, 1, [60_000]),
        blockOf(5, 1, [20]),
        blockOf(6, 1, [300_000]),
      ]
      await put(blocks.map(append))
      const kept: { readonly block: Block; readonly hex: string }[] = []
      const checkKept = (after: string): void => {
        for (const { block, hex } of kept) ok(hexOf(block.data) === hex, `block ${block.first} changed: ${after}`)
      }
      for (const maxBytes of [1, 700, 30_000, 70_000, 400_000, READ_BYTES_MAX, 5000, 1]) {
        for (const lo of [1, 2, 4, 5, 6]) {
          const read = await store.read(logIndex(lo), logIndex(7), maxBytes)
          checkKept(`read from ${lo} with ${maxBytes}`)
          for (const block of read) kept.push({ block, hex: hexOf(block.data) })
        }
        const { lastIndex } = store.stats()
        const next = blockOf(lastIndex + 1, 1, [maxBytes % 50_000], (arena, offset) => store.seal(arena, offset))
        checkKept('seal')
        await put([append(next)])
        checkKept('submit')
      }
      await store.close()
      checkKept('close')
    },
  },
  {
    name: 'a block that was read stays as it is, whatever part of the memory for it was filled',
    async run(bench) {
      const { store, put } = await bench.open()
      const lengths = Array<number>(PARTS).fill(1000)
      await put([append(blockOf(1, 1, lengths)), append(blockOf(PARTS + 1, 1, lengths))])
      // As much as the first block takes: a read of fewer entries fills less of it.
      const maxBytes = blockOf(1, 1, lengths).data.byteLength
      for (let count = 1; count <= PARTS; count += 1) {
        const [block] = await store.read(logIndex(1), logIndex(1 + count), maxBytes)
        const hex = hexOf(block?.data ?? bytes(0))
        await store.read(logIndex(PARTS + 1), logIndex(2 * PARTS + 1), maxBytes)
        await put([append(blockOf(2 * PARTS + count, 1, [40]))])
        ok(hexOf(block?.data ?? bytes(0)) === hex, `a block of ${count} parts of ${PARTS} changed with the next read`)
      }
    },
  },
  {
    name: 'a ticket with more bytes of blocks than the credit is refused as a defect, and moves nothing',
    async run(bench) {
      const { store, put } = await bench.open()
      const { credit } = store.poll()
      const operations: StoreOperation[] = []
      const payload = new Uint8Array(PAYLOAD_BYTES_MAX)
      for (let bytesAsked = 0; bytesAsked <= credit;) {
        const block = entryBlock('command', logIndex(operations.length + 1), termOf(1), T0, payload)
        operations.push(append(block))
        bytesAsked += block.data.byteLength
      }
      throws(() => store.submit(operations))
      const { durable, fault, credit: left } = store.poll()
      deepStrictEqual([durable, fault, left], [0, null, credit])
      const block = blockOf(1, 1, [10, 10])
      await put([append(block), { type: 'hardState', hardState: hardState(1, 'a', 0) }])
      await checkLog(store, entriesOf([block]))
    },
  },
  {
    name: 'stats say how much is used and of how much, and a store with room is not full',
    async run(bench) {
      const { store, put } = await bench.open()
      const before = store.stats()
      const block = blockOf(1, 1, [500_000])
      await put([append(block)])
      const { usedBytes, capacityBytes } = store.stats()
      ok(usedBytes >= before.usedBytes + block.data.byteLength, `${usedBytes} after ${before.usedBytes}`)
      ok(capacityBytes === null || usedBytes < capacityBytes, `${usedBytes} of ${capacityBytes}`)
      strictEqual(capacityBytes, before.capacityBytes)
      strictEqual(store.poll().full, null)
    },
  },
  {
    name: 'what tells its files from a copy is the same at each open, and not that of another store',
    async run(bench) {
      const { state, put } = await bench.open()
      await put([append(blockOf(1, 1, [10]))])
      const { fingerprint } = (await bench.reopen()).state
      strictEqual(fingerprint, state.fingerprint)
      const other = await bench.openOther()
      if (fingerprint !== null) notStrictEqual(other.state.fingerprint, fingerprint)
    },
  },
  {
    name: 'the largest entry goes in and comes out',
    async run(bench) {
      const { store, put } = await bench.open()
      const block = blockOf(1, 1, [PAYLOAD_BYTES_MAX])
      await put([append(block)])
      const [read] = await store.read(logIndex(1), logIndex(2), 1)
      strictEqual(hexOf(read?.data ?? bytes(0)), hexOf(block.data))
      const { store: again } = await bench.reopen()
      const [kept] = await again.read(logIndex(1), logIndex(2), 1)
      strictEqual(hexOf(kept?.data ?? bytes(0)), hexOf(block.data))
    },
  },
  {
    name: 'credit is never negative, admits what it says, and comes back when all is durable',
    async run(bench) {
      const { store, until } = await bench.open()
      const idle = store.poll().credit
      ok(idle > 0)
      let last = 0
      for (let first = 1; first <= 256; first += 1) {
        const block = blockOf(first, 1, [32_000])
        if (store.poll().credit < block.data.byteLength) await until(last)
        ok(store.poll().credit >= block.data.byteLength, 'no credit though everything is durable')
        last = store.submit([append(block)])
        ok(store.poll().credit >= 0)
      }
      await until(last)
      strictEqual(store.poll().credit, idle)
    },
  },
  {
    name: 'submit copies: what the caller does to its memory afterwards changes nothing',
    async run(bench) {
      const { store, until } = await bench.open()
      const block = blockOf(1, 1, [50, 60])
      const value = bytes(20)
      const entries = entriesOf([block])
      const ticket = store.submit([append(block), { type: 'put', key: 'k', value }])
      block.data.fill(0xee)
      value.fill(0xee)
      await until(ticket)
      await checkLog(store, entries)
      const { state } = await bench.reopen()
      strictEqual(hexOf(state.facts.get('k') ?? bytes(0)), hexOf(bytes(20)))
    },
  },
  {
    name: 'close waits for everything submitted, and may be called again',
    async run(bench) {
      const { store } = await bench.open()
      const block = blockOf(1, 1, [10, 10])
      store.submit([append(block)])
      await Promise.all([store.close(), store.close()])
      await store.close()
      const again = await bench.reopen()
      await checkLog(again.store, entriesOf([block]))
    },
  },
  {
    name: 'a closed store refuses submit and read with ERR_RAFT_CLOSED',
    async run(bench) {
      const { store, put } = await bench.open()
      await put([append(blockOf(1, 1, [1]))])
      await store.close()
      throws(() => store.submit([append(blockOf(2, 1, [1]))]), hasCode('ERR_RAFT_CLOSED'))
      await rejects(store.read(logIndex(1), logIndex(2), 100), 'ERR_RAFT_CLOSED')
    },
  },
  {
    name: 'a directory that is open refuses a second store with ERR_RAFT_DIR_LOCKED',
    async run(bench) {
      const { put } = await bench.open()
      await rejects(bench.createSecond().open(ignoreWake), 'ERR_RAFT_DIR_LOCKED')
      await put([append(blockOf(1, 1, [1]))])
    },
  },
  {
    name: 'it wakes at most once for each group commit, and never inside a call',
    async run(bench) {
      const { store, until, wakes } = await bench.open()
      let last = 0
      for (let first = 1; first <= 64; first += 1) {
        const before = wakes()
        last = store.submit([append(blockOf(first, 1, [10]))])
        store.poll()
        strictEqual(wakes(), before, 'woken inside submit or poll')
        if (first % 16 === 0) await nextTurn()
      }
      await until(last)
      await store.close()
      const { groupCommits } = store.stats()
      ok(groupCommits >= 1 && groupCommits <= 64, `${groupCommits} group commits`)
      ok(wakes() >= 1 && wakes() <= groupCommits, `${wakes()} wakes for ${groupCommits} group commits`)
    },
  },
  {
    name: 'D4 a repair of what is not damaged, or not there, changes nothing, and the log goes on',
    run: async (bench) => {
      const { store, put } = await bench.open()
      if (store.repair === undefined) return
      const blocks = [blockOf(1, 1, [8]), blockOf(2, 1, [20, 20]), blockOf(4, 1, [8])]
      await put(blocks.map(append))
      const repair = (first: number, last: number, block: Block): Promise<boolean> | undefined =>
        store.repair?.(logIndex(first), logIndex(last), [block])
      strictEqual(await repair(2, 3, blockOf(2, 1, [20, 20])), false)
      strictEqual(await repair(2, 3, blockOf(2, 2, [20, 20])), false)
      strictEqual(await repair(3, 3, blockOf(3, 1, [20])), false)
      strictEqual(await repair(5, 6, blockOf(5, 1, [20, 20])), false)
      await put([append(blockOf(5, 1, [8]))])
      const { store: again } = await bench.reopen()
      await checkLog(again, entriesOf([...blocks, blockOf(5, 1, [8])]))
    },
  },
  {
    name: 'seal gives the bytes of the pure seal, and verify refuses a block with any damage',
    async run(bench) {
      const { store } = await bench.open()
      const expected = blockOf(5, 3, [0, 1, 8, 100])
      const sealed = blockOf(5, 3, [0, 1, 8, 100], (arena, offset) => store.seal(arena, offset))
      strictEqual(hexOf(sealed.data), hexOf(expected.data))
      ok(store.verify(sealed.data))
      for (let at = 0; at < sealed.data.length; at += 1) {
        const damaged = new Uint8Array(sealed.data)
        damaged[at] = (damaged[at] ?? 0) ^ (1 << (at % 8))
        ok(!store.verify(damaged), `byte ${at} is damaged`)
      }
      ok(!store.verify(bytes(0)))
      ok(!store.verify(sealed.data.subarray(0, sealed.data.length - 1)))
    },
  },
  {
    name: 'stats name the durable log and count what was written',
    async run(bench) {
      const { store, put } = await bench.open()
      const block = blockOf(1, 1, [100, 100])
      await put([append(block)])
      const { firstIndex, lastIndex, bytesWritten, groupCommits } = store.stats()
      deepStrictEqual([firstIndex, lastIndex], [1, 2])
      ok(bytesWritten >= block.data.byteLength)
      ok(groupCommits >= 1)
    },
  },
  {
    name: 'a failed write poisons the store for good; a reopen shows everything that was durable',
    needs: 'failNextWrite',
    async run(bench) {
      const { store, put, until } = await bench.open()
      const block = blockOf(1, 1, [10, 10])
      await put([append(block)])
      bench.failNextWrite()
      const ticket = store.submit([append(blockOf(3, 1, [10]))])
      await rejects(until(ticket), 'ERR_RAFT_STORE_POISONED')
      const progress = store.poll()
      strictEqual(progress.durable, ticket - 1)
      strictEqual(progress.fault?.code, 'ERR_RAFT_STORE_POISONED')
      throws(() => store.submit([append(blockOf(4, 1, [10]))]), hasCode('ERR_RAFT_STORE_POISONED'))
      deepStrictEqual(entriesOf(await store.read(logIndex(1), logIndex(3), 1 << 20)), entriesOf([block]))
      strictEqual(store.poll().durable, ticket - 1)
      const { store: again } = await bench.reopen()
      deepStrictEqual(entriesOf(await again.read(logIndex(1), logIndex(3), 1 << 20)), entriesOf([block]))
    },
  },
  {
    name: 'after a crash everything reported durable is there, and the boot counter grew',
    needs: 'crash',
    async run(bench) {
      const { put, state } = await bench.open()
      const block = blockOf(1, 1, [10, 10])
      await put([append(block), { type: 'hardState', hardState: hardState(1, 'a', 0) }])
      bench.crash()
      const again = await bench.open()
      strictEqual(again.state.bootCounter, state.bootCounter + 1)
      deepStrictEqual(again.state.hardState, hardState(1, 'a', 0))
      await checkLog(again.store, entriesOf([block]))
    },
  },
]

function ignoreWake(): void {}
