/** `npm run sim -- --kv`: worlds of apps/kv from seeds; a failure is told with what clients and servers did before it. */

import { ensureBuilt } from '../ensure-built.mjs'
import { wholeNumber } from '../whole-number.mjs'
import { seedsOf } from './seeds.mjs'

export async function runKvWorlds(values, print) {
  for (const name of ['trace', 'plan', 'shrink', 'into', 'within']) {
    if (values[name] !== undefined) throw new Error(`--${name} is not for --kv`)
  }
  const steps = wholeNumber('--steps', values.steps ?? '2000', 100, 100_000_000)
  const seconds = values.seconds === undefined ? Infinity : wholeNumber('--seconds', values.seconds, 1, 86_400)
  const { first, last } = seedsOf(values, null)
  await ensureBuilt()
  const { runKvWorld } = await import('../../build/test/kv/worlds/kv-world.js')
  const total = { worlds: 0, steps: 0, answered: 0 }
  const reached = new Map()
  const begin = performance.now()
  for (let seed = first; seed <= last && performance.now() - begin < seconds * 1000; seed += 1) {
    const result = await runKvWorld({ seed, steps })
    total.worlds += 1
    total.steps += result.steps
    total.answered += result.answered
    for (const [what, times] of result.reached) reached.set(what, (reached.get(what) ?? 0) + times)
    if (first === last) print(`seed ${seed}: hash ${result.hash}, ${result.steps} core steps`)
    if (result.failure === null) continue
    process.exitCode = 1
    print(`seed ${seed} failed after ${result.steps} core steps: ${result.failure.message}`)
    print(`replay it: npm run sim -- --kv --seed ${seed} --steps ${steps}`)
  }
  const elapsed = (performance.now() - begin) / 1000
  if (values.counts)
    for (const [what, times] of [...reached].sort((a, b) => b[1] - a[1])) print(`${String(times).padStart(9)}  ${what}`)
  print(
    `${total.worlds} worlds of kv from seed ${first}: ${total.steps} core steps in ${elapsed.toFixed(1)} s, ` +
      `${total.answered} commands answered`,
  )
}
