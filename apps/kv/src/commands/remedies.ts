/**
 * What the library advises, in words of this server: an error of the library names its calls and options, and whoever
 * sits at redis-cli has the family RAFT and the command line instead. Every text of the library that a client sees goes
 * through here (test/kv/remedies.test.ts walks them).
 */

import { CLUSTER_CALL_MS } from '../limits.js'
import { CHANGE_USAGE, raftCalls } from './raft-calls.js'

/** By the name of a call of the library: what to type. */
const commandOf: ReadonlyMap<string, { readonly name: string; readonly line: string }> = new Map(
  [...raftCalls].map(([subcommand, { needs, usage }]) => {
    const [name, own] = [`RAFT ${subcommand.toUpperCase()}`, usage.replace(CHANGE_USAGE, '').trim()]
    return [needs, { name, line: own === '' ? name : `${name} ${own}` }]
  }),
)

/** `replace` is a word of English, too: a name in one word is one of a call only behind `raft.`. */
const patternOf = (call: string): string => (/[A-Z]/.test(call) ? `(?:raft\\.)?\\b${call}\\b` : `raft\\.${call}\\b`)

/** A call by its name, with its arguments, where some stand behind it. */
const CALL = new RegExp(`(?:${[...commandOf.keys()].map(patternOf).join('|')})(?:\\([^()]*\\))?`, 'g')

/** Everything else that the library names, and there is by another name here. The first that fit go first. */
const OTHER_WORDS: readonly (readonly [library: RegExp, here: string])[] = [
  [/\boption to\b/g, 'id of RAFT TRANSFER'],
  [/\boption leaseMs\b/g, 'ms of RAFT LEASE'],
  [/\b(?:option )?ifIndex\b/g, 'IFINDEX'],
  [/\b(?:the )?option force\b/g, 'FORCE'],
  [/\bits timeoutMs\b/g, `${CLUSTER_CALL_MS} ms`],
  [/\bconfiguration\(\)/g, 'RAFT STATUS (configuration-index)'],
  [/\bstatus\.peers\b/g, 'RAFT MEMBERS'],
  [
    /\bthe options join: true and recoveries, as status\.recoveries of server (\S+) tells/g,
    '--join and the peer address of server $1',
  ],
  [/\bthe option mapBytes of nativeStore\(\), or the environment variable\b/g, 'the environment variable'],
  [/\bthe option acceptPeerBoot of Raft\.open \(balsa-kv: (--accept-peer-boot \S+)\)/g, '$1'],
  [/\boption join with the addresses of members\b/g, '--join with the peer addresses of members'],
  [/\bbootstrap list\b/g, 'list of --servers'],
]

/** What is wrong with an argument of a call. */
const ARGUMENT = /\boption (id|address|meta) of (\w+)/g

/** The same text with what there is here in it. */
export function inOwnWords(text: string): string {
  const named = text
    .replace(ARGUMENT, (_, argument: string, call: string) => `${argument} of ${commandOf.get(call)?.name ?? call}`)
    .replace(CALL, (call) => commandOf.get(call.replace(/^raft\.|\(.*$/gs, ''))?.line ?? call)
  return OTHER_WORDS.reduce((said, [library, here]) => said.replace(library, here), named)
}
