/**
 * Invariant 26: the snapshot that a log names is in its store, for good and by name, from when the log is told of it
 * until it names another one. Without it the server could neither start nor give a peer what was compacted.
 */

import type { RaftCore } from '../../../core/raft-core.js'
import type { Ready } from '../../../core/ready.js'
import type { Observer, ServerView } from '../../observer.js'
import { hold } from '../../invariants/violation.js'

export class SnapshotFileInvariants implements Observer {
  readonly #holds: (server: ServerView, id: string) => boolean

  /** `holds`: whether the disk of that server has that snapshot, and would after a failure of the power. */
  constructor(holds: (server: ServerView, id: string) => boolean) {
    this.#holds = holds
  }

  // Hot path: once per turn.
  decided(server: ServerView, _core: RaftCore, { ticket }: Ready): void {
    for (const operation of ticket?.operations ?? []) {
      if (operation.type === 'compact') this.#check(server, operation.snapshot.id, 'is about to name')
    }
  }

  // Hot path: once per turn.
  turned(server: ServerView): void {
    const { snapshot } = server.disk.durable
    if (snapshot !== null) this.#check(server, snapshot.id, 'names')
  }

  #check(server: ServerView, id: string, what: string): void {
    hold(
      this.#holds(server, id),
      26,
      () => `the log of ${server.id} ${what} the snapshot ${id}, which is not in its store`,
    )
  }
}
