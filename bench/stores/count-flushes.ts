/**
 * A process that makes a few commits with one store and nothing else, to be run under strace: `count-flushes.js NAME
 * DIR COMMITS ENTRIES BYTES`.
 */

import { batchStores } from './index.js'

const [name = '', dir = '', commits = '0', entries = '0', bytes = '0'] = process.argv.slice(2)
const store = await batchStores.find((maker) => maker.name === name)?.open(dir)
if (store === undefined) throw new Error(`no store is called ${name}`)
const payload = new Uint8Array(Number(bytes)).fill(0x62)
for (let left = Number(commits); left > 0; left -= 1) await store.append(Number(entries), payload)
await store.close()
