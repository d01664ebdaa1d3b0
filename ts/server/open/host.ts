/**
 * What a process has once, however many groups its folder may come to hold: the stores and their news, the wire, the
 * clock, the log.
 */

import type { Transport, TransportHandlers } from '../../transport/transport.js'
import type { Identity } from '../../types.js'
import { closeTransport } from '../closing.js'
import { orRaftError, Stores } from './stores.js'
import type { StoresParts } from './stores.js'

export interface HostParts extends StoresParts {
  readonly transport: Transport
}

export class Host extends Stores {
  readonly transport: Transport
  /** This host has started the transport, so it is this host's to close. Set once. */
  #isListening = false

  /** Throws ERR_RAFT_OPTIONS when the factory makes no store. */
  constructor(parts: HostParts) {
    super(parts)
    this.transport = parts.transport
  }

  async listen(self: Identity, handlers: TransportHandlers): Promise<void> {
    const start = (): Promise<string> => this.transport.start(self, handlers, this.clock, this.logger)
    await orRaftError(start, 'ERR_RAFT_LISTEN', 'the transport cannot start')
    this.#isListening = true
  }

  /** A transport that was not started is not this host's to close. */
  override async giveUp(): Promise<void> {
    try {
      if (this.#isListening) await closeTransport(this.transport, this.clock, this.logger)
    } finally {
      await super.giveUp()
    }
  }
}
