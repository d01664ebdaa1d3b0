/** Asks a server over its Redis port what it is and whom it follows. */

import { connect } from 'node:net'
import type { Member } from '../cluster/members.js'
import type { Secret } from '../security/small-file.js'

export interface Answer {
  readonly role: string
  readonly term: number
  /** Empty: it knows none. */
  readonly leader: string
  readonly applied: number
  readonly committed: number
  /** Voters and nonvoters. */
  readonly members: readonly string[]
}

/** A cluster that runs cannot be asked what was to be asked of it. */
export class AddError extends Error {
  override readonly name = 'AddError'
}

const ASK_TIMEOUT_MS = 1000
const ANSWER_BYTES_MAX = 64 * 1024

/** Null: no answer. `password`: of the default user; null: it needs none. */
export async function askServer(member: Member, password: Secret | null = null): Promise<Answer | null> {
  const isWhole = (text: string): boolean => text.includes('\r\nraft_fault:') && text.endsWith('\r\n\r\n')
  const text = await ask(member, password, 'INFO raft', isWhole, ASK_TIMEOUT_MS)
  return text === null ? null : parse(text)
}

/** The first line of the answer to one inline command; null: no answer in time. */
export async function askFirstLine(
  member: Member,
  password: Secret | null,
  line: string,
  timeoutMs: number,
): Promise<string | null> {
  const text = await ask(member, password, line, (received) => received.includes('\r\n'), timeoutMs)
  return text?.split('\r\n')[0] ?? null
}

/** Without the answer to AUTH, where a password is said first. */
function ask(
  { redis }: Member,
  password: Secret | null,
  line: string,
  isWhole: (received: string) => boolean,
  timeoutMs: number,
): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = connect(redis)
    let received = ''
    let isKnown = password === null
    const finish = (answer: string | null): void => {
      socket.destroy()
      resolve(answer)
    }
    socket.setTimeout(timeoutMs, () => finish(null))
    socket.on('error', () => finish(null))
    socket.on('close', () => finish(null))
    socket.on('connect', () => {
      if (password !== null) socket.write(authCommand(password), 'latin1')
      socket.write(`${line}\r\n`)
    })
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      if (!isKnown && received.includes('\r\n')) {
        if (!received.startsWith('+')) return finish(received)
        received = received.slice(received.indexOf('\r\n') + 2)
        isKnown = true
      }
      if (!isKnown) return
      if (isWhole(received)) finish(received)
      else if (received.length > ANSWER_BYTES_MAX) finish(null)
    })
  })
}

function authCommand(password: Secret): string {
  const text = password.reveal()
  return `*2\r\n$4\r\nAUTH\r\n$${text.length}\r\n${text}\r\n`
}

function parse(text: string): Answer {
  const field = (name: string): string => new RegExp(`^raft_${name}:(.*)\\r$`, 'm').exec(text)?.[1] ?? ''
  return {
    role: field('role'),
    term: Number(field('term')),
    leader: field('leader'),
    applied: Number(field('applied_index')),
    committed: Number(field('commit_index')),
    members: [field('voters'), field('nonvoters')].flatMap((names) => names.split(',').filter((id) => id !== '')),
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
