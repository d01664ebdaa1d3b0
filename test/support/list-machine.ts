/** A state machine that keeps every number it is given, and its snapshot is one long piece for each. */

import { defineStateMachine } from 'balsa-raft'
import type { Raft, RaftOptions } from 'balsa-raft'

export type List = Raft<number, number, void, readonly number[]>

export function listMachine(): RaftOptions<number, number, void, readonly number[]>['stateMachine'] {
  let list: readonly number[] = []
  return defineStateMachine<number, number, readonly number[]>({
    apply: (batch) =>
      batch.map(({ command }) => {
        list = [...list, command]
        return list.length
      }),
    query: () => list,
    snapshot: () => list.map((value) => new TextEncoder().encode(`${value};`.padEnd(2000))),
    restore: async (source) => {
      const parts: string[] = []
      for await (const bytes of source) parts.push(new TextDecoder().decode(bytes))
      list = parts.join('').split(';').slice(0, -1).map(Number)
    },
  })
}
