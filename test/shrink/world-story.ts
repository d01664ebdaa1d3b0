/** What happened in a world, in the lines of the transcripts; only the end of it is kept. */

import type { Request, Response } from '#balsa/core/messages.js'
import type { RaftCore } from '#balsa/core/raft-core.js'
import type { Ready } from '#balsa/core/ready.js'
import type { ServerView } from '#balsa/testing/observer.js'
import { formatEvent, formatMessage, formatTicket } from '#balsa/testing/stage/text.js'
import type { Operation, Returned, WorldObserver } from '#balsa/testing/simulator/world-observer.js'

const LINES_MAX = 400

export class WorldStory implements WorldObserver {
  readonly lines: string[] = []

  booted({ id, disk }: ServerView): void {
    const { hardState, lastIndex } = disk.durable
    const { term, votedFor, commitIndex } = hardState
    this.#say(id, `starts: term=${term} vote=${votedFor ?? '-'} commit=${commitIndex} last=${lastIndex}`)
  }

  crashed({ id }: ServerView, how: string): void {
    this.#say(id, `crashes: ${how}`)
  }

  forgot({ id }: ServerView): void {
    this.#say(id, 'loses its disk')
  }

  decided({ id }: ServerView, _core: RaftCore, ready: Ready): void {
    for (const event of ready.events) this.#say(id, formatEvent(event))
    if (ready.ticket !== null) this.#say(id, formatTicket(ready.ticket))
  }

  delivered(from: string, { id }: ServerView, message: Request | Response): void {
    this.#say(id, `receives from ${from}: ${formatMessage(message)}`)
  }

  durable({ id }: ServerView, ticket: number): void {
    this.#say(id, `disk: ticket ${ticket} of the store is durable`)
  }

  invoked({ server, client, kind, id }: Operation): void {
    this.#say(server, `client ${client} asks for ${kind} ${id}`)
  }

  returned({ server, client, kind, id }: Operation, { status, index, value }: Returned): void {
    const answer = status === 'ok' ? ` at ${index}, value ${value}` : ''
    this.#say(server, `client ${client} hears of ${kind} ${id}: ${status}${answer}`)
  }

  #say(id: string, line: string): void {
    this.lines.push(`${id} ${line}`)
    if (this.lines.length > LINES_MAX) this.lines.shift()
  }
}
