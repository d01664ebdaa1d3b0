/** What a server that joins waits for, as RAFT STATUS and INFO say it. */

import type { Status } from 'balsa-raft'
import { inOwnWords } from './remedies.js'

type Row = readonly [label: string, value: string | number | null]

/** All are empty on a server that is a member. `now`: milliseconds since 1970. */
export function joinRows(join: Status['join'], now: number): readonly Row[] {
  const answers = join?.answers.map(({ address, text }) => `${address}: ${inOwnWords(text)}`)
  return [
    ['join-waits-for', join?.waitsFor ?? null],
    ['join-asking', join?.asking ?? null],
    ['join-answers', answers?.join('; ') ?? null],
    ['join-next-ms', join === null || join.nextAt === null ? null : Math.max(0, Math.round(join.nextAt - now))],
  ]
}
