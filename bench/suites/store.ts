/** Log stores, one batch at a time and each batch durable before the next: what a commit costs on this disk. */

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { quantile } from '../statistics.js'
import type { Settings } from '../settings.js'
import type { BatchStore } from '../stores/batch-store.js'
import { batchStores } from '../stores/index.js'
import { tracedFlushes, whyNotTraced } from '../stores/traced-flushes.js'
import type { Case, OpenSuite, Sample, Skipped, Suite } from '../suite.js'

const BATCHES = [1, 16, 64, 256, 1024]
const WARM_UP_MS = 200

export const store: Suite = {
  name: 'store',
  purpose:
    'the native log store in both modes and the file store against raw write and flush and the npm packages lmdb, classic-level and better-sqlite3, all durable',
  rounds: 5,
  seconds: 1,
  metrics: [
    { key: 'perSecond', head: 'entries/s', digits: 0 },
    { key: 'p50', head: 'commit p50 ms', digits: 3 },
    { key: 'p99', head: 'commit p99 ms', digits: 3 },
    { key: 'flushesPerCommit', head: 'flushes/commit', digits: 2 },
  ],
  judged: { key: 'perSecond', better: 'more' },
  minutes: 4,
  open,
}

async function open(settings: Settings): Promise<OpenSuite> {
  const folder = mkdtempSync(join(settings.dir, 'store-'))
  const opened: BatchStore[] = []
  const cases: Case[] = []
  const skipped: Skipped[] = []
  const untraced = await whyNotTraced()
  if (untraced !== null) skipped.push({ what: 'flushes of the npm packages', reason: untraced })
  for (const [at, maker] of batchStores.entries()) {
    const dir = join(folder, String(at))
    mkdirSync(dir)
    try {
      const batchStore = await maker.open(dir)
      opened.push(batchStore)
      const trace = untraced === null && batchStore.flushes() === null
      cases.push(...casesOf(maker.name, batchStore, settings, trace ? folder : null))
    } catch (error) {
      skipped.push({ what: maker.name, reason: (error as Error).message })
    }
  }
  return {
    cases,
    skipped,
    notes: [
      'entries/s and latency include what a store does to make its bytes; the raw write has them sealed beforehand and calls synchronously',
      'flushes: counted by the store itself, of the npm packages by strace in a run of their own (O_DSYNC writes included)',
    ],
    async close() {
      for (const each of opened) await each.close()
      rmSync(folder, { recursive: true })
    },
  }
}

function casesOf(name: string, batchStore: BatchStore, settings: Settings, traceDir: string | null): readonly Case[] {
  return settings.bytes.flatMap((bytes) =>
    BATCHES.map((batch): Case => {
      let traced: number | null = null
      return {
        contender: name,
        at: { batch, bytes },
        async measure() {
          if (traceDir !== null) traced ??= await tracedFlushes(name, traceDir, batch, bytes)
          const sample = await measure(batchStore, batch, bytes, settings.seconds * 1000)
          return traced === null ? sample : { ...sample, flushesPerCommit: traced }
        },
      }
    }),
  )
}

async function measure(batchStore: BatchStore, batch: number, bytes: number, milliseconds: number): Promise<Sample> {
  const payload = new Uint8Array(bytes).fill(0x62)
  for (const end = performance.now() + WARM_UP_MS; performance.now() < end;) await batchStore.append(batch, payload)
  const flushesBefore = batchStore.flushes()
  const latencies: number[] = []
  const start = performance.now()
  for (let begin = start; begin < start + milliseconds; begin = performance.now()) {
    await batchStore.append(batch, payload)
    latencies.push(performance.now() - begin)
  }
  const took = performance.now() - start
  const flushesAfter = batchStore.flushes()
  const sorted = Float64Array.from(latencies).sort()
  const counted = flushesBefore === null || flushesAfter === null ? null : flushesAfter - flushesBefore
  return {
    perSecond: (latencies.length * batch) / (took / 1000),
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    ...(counted === null ? {} : { flushesPerCommit: counted / latencies.length }),
  }
}
