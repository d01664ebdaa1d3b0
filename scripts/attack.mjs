/**
 * `npm run attack`: hostile clients against a cluster of three server processes. Each attack must cost no election and no
 * server, little memory, and keep no event loop away for long. Ends with exit code 1 when one does.
 */

import { parseArgs } from 'node:util'
import { AttackedCluster } from './attack/cluster.mjs'
import { ensureBuilt } from './ensure-built.mjs'

const USAGE = `usage: npm run attack -- [options] [attack ...]
  --short   smaller data sets, for a machine that is shared
  attacks: work-in-an-entry, whole-data-set, patterns, what-clients-hold, too-much-data, deep-pipeline;
           default: all
`

const GROWTH_MIB_MAX = 256
const LOOP_DELAY_MAX_MS = 100

const times = (count, words) => Array.from({ length: count }, () => words)

/** Each fills the cluster, if it must, and answers with the attack itself. */
const attacks = {
  'work-in-an-entry': async (cluster, isShort) => {
    await fill(cluster, isShort ? 5000 : 20_000)
    return async () => {
      await cluster.send([['MULTI'], ...times(4000, ['KEYS', '*']), ['EXEC']])
      const keys = Array.from({ length: 15 }, (_, at) => `key:${at}`)
      // As many words as one entry may have.
      await cluster.send([['MULTI'], ...times(1000, ['MGET', ...keys]), ['EXEC']])
      const many = Array.from({ length: 8_000 }, (_, at) => `many:${at}`)
      await cluster.send(times(20, ['MSET', ...many.flatMap((key) => [key, 'value'])]))
      await cluster.send([
        ['DEL', ...many],
        ['MGET', ...many],
      ])
      await cluster.send([
        ...times(300, ['WATCH', ...Array.from({ length: 4000 }, (_, at) => `key:${at}`)]),
        ['MULTI'],
        ['EXEC'],
      ])
    }
  },
  'whole-data-set': async (cluster, isShort) => {
    await fill(cluster, isShort ? 100_000 : 1_000_000)
    return async () => {
      await cluster.send(times(10, ['KEYS', '*']))
      await cluster.send(times(isShort ? 20 : 400, ['KEYS', 'key:1*']))
      await cluster.send(times(50, ['CLUSTER', 'COUNTKEYSINSLOT', '1']))
      await Promise.all(times(8, null).map(() => cluster.send(times(2, ['KEYS', '*']))))
      await cluster.send(times(1000, ['MGET', ...Array.from({ length: 1000 }, (_, at) => `key:${at}`)]))
    }
  },
  patterns: async (cluster) => {
    await cluster.send([['SET', 'a'.repeat(50_000), 'v']])
    return async () => {
      const long = 'a'.repeat(1_000_000)
      await cluster.send([
        ['KEYS', `${'a*'.repeat(25_000)}b`],
        ['KEYS', `${'a*'.repeat(255)}b`],
        ['SCAN', '0', 'MATCH', long],
        ['CONFIG', 'GET', long],
      ])
    }
  },
  'what-clients-hold': async (cluster, isShort) => async () => {
    const megabyte = 'x'.repeat(1_000_000)
    await cluster.hold([['MULTI'], ...times(900, ['PING', megabyte])])
    await cluster.hold(Array.from({ length: 300 }, (_, at) => ['WATCH', `${at}${megabyte}`]))
    const unfinished = times(3, ['SET', 'key', megabyte]).flat()
    await Promise.all(times(isShort ? 100 : 200, null).map(() => cluster.holdPart(['MSET', ...unfinished])))
    expect(await cluster.send([['SET', 'after', 'all']]), /^\+OK/)
  },
  'too-much-data': async (cluster, isShort) => async () => {
    const value = 'x'.repeat(100_000)
    const sets = Array.from({ length: isShort ? 3000 : 12_000 }, (_, at) => ['SET', `large:${at}`, value])
    expect(await cluster.send(sets), /-OOM command not allowed/)
    expect(await cluster.send([['DEL', 'large:0', 'large:1']]), /^:2/)
    expect(await cluster.send([['SET', 'after', 'all']]), /^\+OK/)
  },
  'deep-pipeline': async (cluster, isShort) => {
    await fill(cluster, 100)
    return async () => {
      const keys = Array.from({ length: 100 }, (_, at) => `key:${at}`)
      await cluster.sendBeforeReading(times(isShort ? 20_000 : 100_000, ['MGET', ...keys]))
    }
  },
}

function expect(said, pattern) {
  if (!pattern.test(said)) throw new Error(`${pattern} is not in what was answered: ${said.slice(-200)}`)
}

async function fill(cluster, count) {
  const batch = 1000
  for (let from = 0; from < count; from += 20 * batch) {
    const sets = []
    for (let at = from; at < Math.min(count, from + 20 * batch); at += batch) {
      const words = ['MSET']
      for (let key = at; key < Math.min(count, at + batch); key += 1) words.push(`key:${key}`, 'value')
      sets.push(words)
    }
    await cluster.send(sets)
  }
}

async function run(name, isShort) {
  const cluster = await AttackedCluster.start(isShort ? 256 : 1024)
  try {
    const attack = await attacks[name](cluster, isShort)
    const before = await cluster.look()
    const started = performance.now()
    let failure = null
    await attack().catch((error) => (failure = error.message))
    const seconds = ((performance.now() - started) / 1000).toFixed(1)
    const faults = failure === null ? [] : [failure]
    for (const [at, now] of (await cluster.look()).entries()) faults.push(...faultsOf(before[at], now))
    process.stdout.write(`${faults.length === 0 ? 'ok  ' : 'FAIL'} ${name} (${seconds} s)\n`)
    for (const fault of faults) process.stdout.write(`       ${fault}\n`)
    return faults.length === 0
  } finally {
    await cluster.close()
  }
}

function faultsOf(before, { id, exit, term, data, longestMs, rss }) {
  if (exit !== null) return [`${id} ended with ${exit}`]
  const grown = Math.round((rss - before.rss - (data - before.data)) / 1024 / 1024)
  process.stdout.write(
    `     ${id}: term ${before.term} -> ${term}, loop away ${longestMs} ms, memory ${grown} MiB more than its data\n`,
  )
  const faults = []
  if (term !== before.term) faults.push(`${id}: an election`)
  // Also when a server that is there did not say.
  if (!(grown <= GROWTH_MIB_MAX)) faults.push(`${id}: ${grown} MiB more memory than its data`)
  if (longestMs > LOOP_DELAY_MAX_MS) faults.push(`${id}: its loop was away for ${longestMs} ms`)
  return faults
}

async function main() {
  const { values, positionals } = parseArgs({
    options: { short: { type: 'boolean' }, help: { type: 'boolean' } },
    allowPositionals: true,
  })
  const unknown = positionals.find((name) => attacks[name] === undefined)
  if (values.help === true || unknown !== undefined) {
    process.stderr.write(unknown === undefined ? USAGE : `attack: there is no attack ${unknown}\n${USAGE}`)
    process.exitCode = unknown === undefined ? 0 : 2
    return
  }
  await ensureBuilt()
  const names = positionals.length > 0 ? positionals : Object.keys(attacks)
  let held = true
  for (const name of names) held = (await run(name, values.short === true)) && held
  process.exitCode = held ? 0 : 1
}

await main().catch((error) => {
  process.stderr.write(`attack: ${error.message}\n`)
  process.exitCode = 2
})
