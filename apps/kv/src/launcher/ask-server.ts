/** Asks a server over its Redis port what it is and whom it follows. */

import { connect } from 'node:net'
import type { Member } from '../cluster/members.js'

export interface Answer {
  readonly role: string
  readonly term: number
  /** Empty: it knows none. */
  readonly leader: string
  readonly applied: number
  readonly committed: number
}

const ASK_TIMEOUT_MS = 1000
const ANSWER_BYTES_MAX = 64 * 1024

/** Null: no answer. */
export function askServer({ redis }: Member): Promise<Answer | null> {
  return new Promise((resolve) => {
    const socket = connect(redis)
    let received = ''
    const finish = (answer: Answer | null): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(ASK_TIMEOUT_MS, () => finish(null))
    socket.on('error', () => finish(null))
    socket.on('close', () => finish(null))
    socket.on('connect', () => socket.write('INFO raft\r\n'))
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      if (received.includes('\r\nraft_fault:') && received.endsWith('\r\n\r\n')) finish(parse(received))
      else if (received.length > ANSWER_BYTES_MAX) finish(null)
    })
  })
}

function parse(text: string): Answer {
  const field = (name: string): string => new RegExp(`^raft_${name}:(.*)\\r$`, 'm').exec(text)?.[1] ?? ''
  return {
    role: field('role'),
    term: Number(field('term')),
    leader: field('leader'),
    applied: Number(field('applied_index')),
    committed: Number(field('commit_index')),
  }
}

/** Whether all that answered follow one leader, which is among them, and have caught up with what it had committed. */
export function agree(answers: readonly (Answer | null)[], members: readonly Member[]): Member | null {
  const [first] = answers
  if (first === undefined || first === null || first.leader === '') return null
  const leader = members.findIndex(({ id }) => id === first.leader)
  const committed = answers[leader]?.committed ?? 0
  const same = answers.every(
    (answer) =>
      answer !== null && answer.leader === first.leader && answer.term === first.term && answer.applied >= committed,
  )
  return same && committed > 0 && answers[leader]?.role === 'leader' ? (members[leader] ?? null) : null
}
